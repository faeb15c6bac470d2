"""The evidence lower bound, trained with information that costs nothing."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from pyrovae.objective import Objective
from pyrovae.surrogates.weighing import refuse_undrawn
from pyrovae.waist.particles import Particles


class FreeBits(Objective):
    r"""The evidence lower bound, trained as if every latent could hold some nats at no cost.

    .. math:: E \log p(x \mid z) - \sum_{j} \max\Bigl(\lambda,\;
              \frac{1}{B} \sum_{b=1}^{B} \mathrm{KL}_j(x_b)\Bigr)

    What it bounds: the value is the true ELBO, below log p(x). What is trained is the expression above,
    which lies below the ELBO, and touches it where every latent holds at least lambda nats.

    Gradient: that of the reparameterised ELBO, but for divergences below lambda, which have none; their
    closed form is used where Pyro knows it. Biased for the ELBO, by design.

    Cost: K evaluations of model and guide per datapoint.

    When to use it: where latents are switched off early in training and never come back.

    Args:
        nats: lambda, what each latent may hold at no cost, in nats per datapoint.
        per: what a latent is: each ``"dimension"`` of a site that factorises, or a whole ``"site"``.
        num_particles: K.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.

    Returns:
        ``loss`` and its relatives return minus the ELBO of the data set, in nats.

    Raises:
        ValueError: a negative lambda, or a guide whose draws carry no gradient.

    Source: Improved variational inference with inverse autoregressive flow (Kingma et al., 2016).

    How to read it: as the ELBO.

    Example:
        >>> import torch
        >>> FreeBits(nats=0.5).bound(torch.tensor([[-1.0], [-3.0]]))
        tensor([-2.])
    """

    linear = True
    temperable = False
    allowed_gradients = ("pathwise",)

    def __init__(
        self,
        *,
        nats: float = 0.1,
        per: Literal["dimension", "site"] = "dimension",
        num_particles: int = 1,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
    ) -> None:
        if not (nats >= 0 and math.isfinite(nats)):
            raise ValueError(f"nats is {nats}: what is free must be a number of at least 0")
        if per not in ("dimension", "site"):
            raise ValueError(f"per is {per!r}: it must be 'dimension' or 'site'")
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
        )
        self.nats = float(nats)
        self.per = per
        self.detail = "by_dimension" if per == "dimension" else "analytic"

    def bound(self, log_weights: Tensor) -> Tensor:
        """Mean over particles: (K, ...) -> (...), in nats."""
        return log_weights.mean(0)

    def target(self, particles: Particles) -> Tensor:
        """What is differentiated: the ELBO with each divergence kept from falling below what is free."""
        refuse_undrawn(self, particles)
        if particles.log_prior is None or particles.divergences is None:
            raise ValueError("these particles were run without detail, so their prior is not known")
        total = particles.average(particles.log_joint - particles.log_prior).mean(0).sum()
        for divergence in particles.divergences.values():
            if divergence.dim() > particles.log_joint.dim():  # a term per dimension
                divergence = divergence.movedim(-1, 0)
            free = particles.average(divergence).mean((-2, -1)).clamp(min=self.nats)
            total = total - free.sum() * particles.log_joint.shape[-1]
        return total * particles.scale + particles.log_outside
