"""A weight on the divergence from the prior."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyrovae.objective import Gradient, Objective, carrying
from pyrovae.programs import Program
from pyrovae.waist.particles import Particles
from pyrovae.wrapping import wrapped


class Beta(Objective):
    r"""Another objective, trained with a weight on prior and guide, that may warm up.

    .. math:: \log w_k^{(\beta)} = \log p(x \mid z_k) + \beta_t \, (\log p(z_k) - \log q(z_k \mid x)),
              \qquad \beta_t = \beta \min(1, t / T)

    What it bounds: the value is the true bound of the objective it wraps, at beta = 1, so that fits with
    different weights compare. What is trained is the same bound of the tempered log-weights above: of the
    ELBO, E log p(x | z) - beta KL(q || p), of a bound of K particles the one whose prior and guide are
    raised to the power beta.

    Gradient: that of the wrapped objective, for the tempered target: biased for the bound itself unless
    beta is 1, and otherwise with the properties stated there.

    Cost: that of the wrapped objective.

    When to use it: warm-up against latents that are switched off early and for good; beta above 1 for
    fewer and more independent latents, below 1 for better reconstructions.

    Args:
        objective: what is wrapped: the name of an objective of this package or the objective itself.
        beta: the final weight, at least 0.
        warm_up: T, training steps until it is reached, from 0, in a straight line; 0 for none.
        num_particles: K of an objective given by name.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: of an objective given by name; its own default if None.

    Returns:
        ``loss`` and its relatives return minus the bound of the wrapped objective, in nats.

    Raises:
        ValueError: a negative weight or warm-up, or an objective that cannot be tempered.
        TypeError: a gradient beside an objective that is already made.

    Source: beta-VAE: learning basic visual concepts with a constrained variational framework (Higgins et
    al., 2017); Ladder variational autoencoders (Sonderby et al., 2016) for the warm-up.

    How to read it: ``weight()`` is the weight of the next step; the loss is always the unweighted one.

    Example:
        >>> beta = Beta(objective="IWAE", num_particles=5, beta=2.0, warm_up=100)
        >>> beta.inner.num_particles, beta.weight().item()
        (5, 0.0)
    """

    temperable = False

    def __init__(
        self,
        *,
        objective: str | Objective = "ELBO",
        beta: float = 1.0,
        warm_up: int = 0,
        num_particles: int = 1,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: Gradient | None = None,
    ) -> None:
        if not (beta >= 0 and math.isfinite(beta)) or warm_up < 0:
            raise ValueError(
                f"beta is {beta} and warm_up {warm_up}: a weight and a number of steps are at least 0"
            )
        inner = wrapped(objective, num_particles, max_plate_nesting, vectorize_particles, gradient)
        if not inner.temperable:
            raise ValueError(
                f"{type(inner).__name__} has no log-weights to temper: wrap ELBO, IWAE, Renyi, VRIWAE, "
                "MIWAE, PIWAE, CIWAE, or TVO with gradient='dreg'"
            )
        super().__init__(
            num_particles=inner.num_particles,
            vectorize_particles=inner.vectorize_particles,
        )
        self.nesting = inner.nesting
        self.inner = inner
        self.linear = inner.linear
        self.detail = "sampled" if inner.detail == "none" else inner.detail
        self.beta = float(beta)
        self.warm_up = warm_up
        self.steps = torch.zeros((), dtype=torch.float64)

    def weight(self) -> Tensor:
        """The weight of the next training step, a scalar."""
        if not self.warm_up:
            return torch.full_like(self.steps, self.beta)
        return self.beta * (self.steps / self.warm_up).clamp(max=1.0)

    def bound(self, log_weights: Tensor) -> Tensor:
        """That of the wrapped objective: (K, ...) -> (...), in nats."""
        return self.inner.bound(log_weights)

    def value(self, particles: Particles) -> Tensor:
        """The bound of the whole data set, a scalar, without the weight."""
        return self.inner.value(particles)

    def local_bound(self, particles: Particles) -> Tensor:
        """The bound of each datapoint, (B,), without the weight."""
        return self.inner.local_bound(particles)

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Minus the bound of the data set, in nats, as a tensor that carries the weighted gradient."""
        particles = self.run(model, guide, args, kwargs, draws=self.inner.draws)
        value = self.inner.value(particles).detach()
        if self.steps.device != value.device:
            self.steps = self.steps.to(value.device)
        surrogate = self.inner.surrogate(particles.tempered(self.weight().to(value.dtype)))
        with torch.no_grad():
            self.steps.add_(1.0)
        return -carrying(value, surrogate)

    def state(self) -> dict[str, Tensor]:
        """The count of steps, and what the wrapped objective remembers."""
        return {"steps": self.steps} | {f"inner.{k}": v for k, v in self.inner.state().items()}
