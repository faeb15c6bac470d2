"""Reweighted wake-sleep."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from pyrovae.log_weights import Draws
from pyrovae.objective import Objective, carrying
from pyrovae.programs import Program
from pyrovae.surrogates import weighing
from pyrovae.surrogates.bounds import log_mean_exp
from pyrovae.surrogates.dreams import dream
from pyrovae.waist.particles import Particles


class WakeSleep(Objective):
    r"""Reweighted wake-sleep: the model by weighted draws, the guide by weighted draws or by dreams.

    .. math:: \nabla_\theta: \sum_k \tilde w_k \nabla \log p_\theta(x, z_k), \qquad
              \nabla_\phi: \iota \sum_k \tilde w_k \nabla \log q_\phi(z_k \mid x)
              + (1 - \iota) \, \nabla \log q_\phi(z' \mid x'), \quad (x', z') \sim p_\theta

    What it bounds: the value is the importance-weighted bound, below log p(x) in expectation. The guide
    does not climb it: in the wake phase (iota = 1) it descends KL(p(z | x) || q), in the sleep phase
    (iota = 0) the same averaged over data that the model dreams.

    Gradient: of the model, that of the IWAE (wake-theta). Of the guide, wake-phi is biased for finite K
    and consistent, with a variance that falls as 1 / K; sleep-phi is unbiased for its own aim. Neither
    needs a path or a baseline.

    Cost: K evaluations of model and guide per datapoint, and one more for a dream.

    When to use it: for discrete latents, and for guides that should cover the whole posterior.

    Args:
        num_particles: K.
        insomnia: iota, the share of the wake phase in the guide's gradient, from 0 to 1.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.

    Returns:
        ``loss`` and its relatives return minus the importance-weighted bound of the data set, in nats.
        All gradients are scaled by N / B, weights are not.

    Raises:
        ValueError: an ``insomnia`` outside [0, 1]; a guide with sites outside the data plate; dreams for
            programs that do not take the observed values as arguments, or for a guide with parameters
            of its own for every row.

    Source: Reweighted wake-sleep (Bornschein & Bengio, 2015); The wake-sleep algorithm for unsupervised
    neural networks (Hinton, Dayan, Frey & Neal, 1995).

    How to read it: as the IWAE.

    Example:
        >>> import torch
        >>> WakeSleep(num_particles=2).bound(torch.tensor([[-1.0], [-1.0]]))
        tensor([-1.])
    """

    allowed_gradients = ("wake",)
    temperable = False

    def __init__(
        self,
        *,
        num_particles: int = 10,
        insomnia: float = 1.0,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
    ) -> None:
        if not 0 <= insomnia <= 1:
            raise ValueError(
                f"insomnia is {insomnia}: the share of the wake phase must be from 0 to 1"
            )
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            gradient="wake",
        )
        self.insomnia = float(insomnia)

    def bound(self, log_weights: Tensor) -> Tensor:
        """Log-mean-exp over particles: (K, ...) -> (...), in nats."""
        return log_mean_exp(log_weights)

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """Normalised weights, (K, B)."""
        return log_weights.softmax(0)

    @property
    def draws(self) -> Draws:
        """Values: nothing is differentiated through them."""
        return "values"

    def surrogate(self, particles: Particles) -> Tensor:
        """The weighted log p and log q of the wake phases, as a scalar."""
        weighing.refuse_outside(self, particles)
        if particles.made:
            raise ValueError(
                f"the guide's site {particles.made[0]!r} is made of other draws with parameters of its own, "
                "and WakeSleep fits log q at given values of a site: draw it from a distribution that has "
                "them, or use objectives.IWAE"
            )
        terms = particles.log_terms.detach()
        weights = terms.flatten(end_dim=-2).softmax(0).reshape(terms.shape)
        log_guide = particles.log_guide
        if particles.log_enumerated is not None:
            log_guide = log_guide + particles.log_enumerated
        total = weighing.weighed(weights, particles.log_joint + self.insomnia * log_guide)
        return total * particles.scale + particles.log_model_outside

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Minus the bound of the data set, in nats, as a tensor that carries the chosen gradient."""
        particles = self.run(model, guide, args, kwargs, draws=self.draws)
        surrogate = self.surrogate(particles)
        if self.insomnia < 1:
            layout = self.layout(model, guide, args, kwargs)
            log_guide = dream(model, guide, args, kwargs, layout=layout)
            surrogate = surrogate + (1.0 - self.insomnia) * particles.scale * log_guide.sum()
        return -carrying(self.value(particles).detach(), surrogate)
