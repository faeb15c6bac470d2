r"""What all objectives share: a value that is the bound itself, and a gradient chosen apart from it.

An objective says how the log-weights of one datapoint reduce to a bound, `Objective.bound`. This base
runs the programs, puts the data plate's scale N / B back after the reduction, adds the terms of latents
outside the plate, and makes a loss whose value is minus the bound and whose gradient is one of:

- ``"pathwise"``: through the draws and the densities, as automatic differentiation finds it;
- ``"stl"``: without the guide's score (sticking the landing, Roeder, Wu & Duvenaud 2017);
- ``"dreg"``: the guide's score reparameterised once more (Tucker, Lawson, Gu & Maddison 2019);
- ``"score"``: the score function for every site, whether or not its draws carry a gradient.

Sites whose draws carry no gradient get the score function in all of these.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Literal, get_args

import torch
from pyro.infer import ELBO
from torch import Tensor

from pyrovae import gradients
from pyrovae.log_weights import Particles, run_particles, stack_particles
from pyrovae.programs import Program
from pyrovae.sites import Layout, find_layout

Gradient = Literal["pathwise", "stl", "dreg", "score"]


class Objective(ELBO):
    """The base of all objectives: bound in, loss and gradient out; goes wherever Pyro's own do.

    Subclasses implement `bound`, and may say that it is `linear` in the log-weights, or name the
    ``gradients`` they allow.
    """

    linear: bool = False
    allowed_gradients: tuple[str, ...] = get_args(Gradient)

    def __init__(
        self,
        *,
        num_particles: int = 1,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: Gradient = "pathwise",
    ) -> None:
        if not isinstance(num_particles, int) or num_particles < 1:
            raise ValueError(
                f"num_particles is {num_particles!r}: it must be a whole number of at least 1"
            )
        if gradient not in self.allowed_gradients:
            raise ValueError(
                f"gradient is {gradient!r}: {type(self).__name__} knows {', '.join(self.allowed_gradients)}"
            )
        super().__init__(num_particles=num_particles, vectorize_particles=vectorize_particles)
        self.gradient = gradient
        self.nesting = None if math.isinf(max_plate_nesting) else int(max_plate_nesting)
        self._known: tuple[Program, Program, Layout] | None = None

    @abstractmethod
    def bound(self, log_weights: Tensor) -> Tensor:
        """Reduce log-weights (K, B) to the bound of each datapoint (B,), in nats."""

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """Derivative of the summed bound by each log-weight, (K, B): what a path gradient weighs by."""
        return gradients.coefficients(self.bound, log_weights)

    def dreg_coefficients(self, log_weights: Tensor) -> Tensor:
        """What the doubly reparameterised gradient weighs each particle's path by, (K, B)."""
        return gradients.dreg_coefficients(self.bound, log_weights)

    def layout(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Layout:
        """Where these programs keep their datapoints; found once and kept while they stay the same."""
        if self._known is None or self._known[0] != model or self._known[1] != guide:
            found = find_layout(model, guide, args, kwargs, nesting=self.nesting)
            self._known = (model, guide, found)
        return self._known[2]

    def run(
        self, model: Program, guide: Program, args: Any, kwargs: Any, *, draws: str = "graph"
    ) -> Particles:
        """Run both programs with this objective's number of particles."""
        layout = self.layout(model, guide, args, kwargs)
        settings: dict[str, Any] = {"layout": layout, "linear": self.linear, "draws": draws}
        if self.vectorize_particles or self.num_particles == 1:
            return run_particles(
                model, guide, args, kwargs, num_particles=self.num_particles, **settings
            )
        return stack_particles(
            model, guide, args, kwargs, num_particles=self.num_particles, **settings
        )

    def value(self, particles: Particles) -> Tensor:
        """The bound of the whole data set, a scalar: N / B times the sum over the batch, plus globals."""
        return self.local_bound(particles).sum() * particles.scale + particles.log_global

    def local_bound(self, particles: Particles) -> Tensor:
        """The bound of each datapoint, (B,)."""
        return self.bound(particles.log_weights)

    @torch.no_grad()
    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:  # type: ignore[override]
        """Minus the bound of the data set, in nats, as a number; computes no gradient."""
        return -float(self.value(self.run(model, guide, args, kwargs)))

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Minus the bound of the data set, in nats, as a tensor that carries the chosen gradient."""
        draws = {"pathwise": "graph", "score": "values"}.get(self.gradient, "leaves")
        particles = self.run(model, guide, args, kwargs, draws=draws)
        return -gradients.with_gradient(self, particles)

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Compute the gradient into the parameters' ``.grad``, and return minus the bound as a number."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        return float(loss)

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError("the objectives of this package reduce log-weights and keep no traces")
