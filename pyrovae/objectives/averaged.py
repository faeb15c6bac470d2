"""The mean of several evaluations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyrovae.objective import Gradient, Objective
from pyrovae.programs import Program
from pyrovae.registry.plain import whole_numbers
from pyrovae.waist.particles import Particles
from pyrovae.wrapping import wrapped


class Averaged(Objective):
    r"""The mean of M evaluations of another objective, each with draws of its own for what all rows share.

    .. math:: \mathcal{L} = \frac{1}{M} \sum_{m=1}^{M} \Bigl[ \log \frac{p(g_m)}{q(g_m)}
              + \frac{N}{B} \sum_{b=1}^{B} F(\log w_{1b}, \dots, \log w_{Kb}; g_m) \Bigr],
              \qquad g_m \sim q(g)

    What it bounds: what the wrapped objective does, as tightly.

    Gradient: that of the wrapped objective, with its bias, and its variance divided by M; where Pyro draws
    the rows of a subsample, these are drawn anew too.

    Cost: M times that of the wrapped objective, in M runs one after the other.

    When to use it: with latents outside the data plate (the weights of a mixture or of a decoder), of which
    an objective draws only one value, so that particles do nothing for the noise of their gradient.

    Args:
        objective: what is wrapped: the name of an objective of this package or the objective itself.
        repeats: M, how many evaluations.
        num_particles: K of an objective given by name.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: of an objective given by name; its own default if None.

    Returns:
        ``loss`` and its relatives return minus the mean of the bounds, in nats.

    Raises:
        ValueError: no repeat, or something that is no objective of this package.
        TypeError: a gradient beside an objective that is already made.

    Source: Auto-encoding variational Bayes (Kingma & Welling, 2014): the number of samples L there.

    How to read it: as the objective that it wraps.

    Example:
        >>> Averaged(objective="IWAE", repeats=3, num_particles=5).inner.num_particles
        5
    """

    temperable = False

    def __init__(
        self,
        *,
        objective: str | Objective = "ELBO",
        repeats: int = 2,
        num_particles: int = 1,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: Gradient | None = None,
    ) -> None:
        whole_numbers(repeats=repeats)
        self.inner = wrapped(
            objective, num_particles, max_plate_nesting, vectorize_particles, gradient
        )
        self.repeats = repeats
        super().__init__(
            num_particles=self.inner.num_particles,
            vectorize_particles=self.inner.vectorize_particles,
        )
        self.nesting, self.linear = self.inner.nesting, self.inner.linear

    def bound(self, log_weights: Tensor) -> Tensor:
        """That of the wrapped objective: (K, ...) -> (...), in nats."""
        return self.inner.bound(log_weights)

    def value(self, particles: Particles) -> Tensor:
        """The bound of the whole data set by one evaluation, a scalar."""
        return self.inner.value(particles)

    @torch.no_grad()
    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Minus the mean of the bounds, in nats, as a number; computes no gradient."""
        losses = [self.inner.loss(model, guide, *args, **kwargs) for _ in range(self.repeats)]
        return sum(losses) / self.repeats

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Minus the mean of the bounds, in nats, as a tensor that carries the mean gradient."""
        before = {name: tensor.clone() for name, tensor in self.inner.state().items()}
        losses = []
        for _ in range(self.repeats):
            self.inner.load_state(before)  # all of them are one step of a warm-up
            losses.append(self.inner.differentiable_loss(model, guide, *args, **kwargs))
        return torch.stack(losses).mean()

    def state(self) -> dict[str, Tensor]:
        """What the wrapped objective remembers."""
        return {f"inner.{name}": tensor for name, tensor in self.inner.state().items()}
