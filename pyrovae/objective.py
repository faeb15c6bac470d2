r"""What all objectives share: a value that is the bound itself, and a gradient chosen apart from it.

An objective says how the log-weights of one datapoint reduce to a bound, `Objective.bound`. This base
runs the programs, puts the data plate's scale N / B back after the reduction, adds the terms of latents
outside the plate, and makes a loss whose value is minus the bound and whose gradient is one of:

- ``"pathwise"``: through the draws and the densities, as automatic differentiation finds it;
- ``"stl"``: without the guide's score (sticking the landing, Roeder, Wu & Duvenaud 2017);
- ``"dreg"``: the guide's score reparameterised once more (Tucker, Lawson, Gu & Maddison 2019);
- ``"score"``: the score function for every site, whether or not its draws carry a gradient.

Sites whose draws carry no gradient get the score function under ``"pathwise"`` too.

Latents outside the data plate are drawn once, those inside K times: with g the former and N datapoints,

.. math:: \mathcal{L} = E_{q(g)} \Bigl[ \log \frac{p(g)}{q(g)}
          + \frac{N}{B} \sum_{b=1}^{B} E \, F(\log w_{1b}, \dots, \log w_{Kb}) \Bigr] \le \log p(x_{1:N})

which is a bound of the whole data set for every bound F of a datapoint, and stays one in expectation
over the choice of a minibatch.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Literal, get_args

import torch
from pyro.infer import ELBO
from torch import Tensor

from pyrovae.log_weights import Draws, run_particles, stack_particles
from pyrovae.programs import Program
from pyrovae.registry.plain import whole_number
from pyrovae.surrogates import gradients, weighing
from pyrovae.surrogates.baselines import Baseline, MovingAverage, learning_signal
from pyrovae.waist.particles import Detail, Particles
from pyrovae.waist.sites import Layout, find_layout

Gradient = Literal["pathwise", "stl", "dreg", "score"]

MOST_KNOWN = 8  # pairs of programs that share an objective and take turns


class Objective(ELBO):
    """The base of all objectives: bound in, loss and gradient out; goes wherever Pyro's own do.

    Subclasses implement `bound`. They may say that it is `linear` in the log-weights, name the
    ``allowed_gradients``, ask for `detail` about the terms, and give closed forms of `coefficients` and
    `dreg_coefficients`.
    """

    linear: bool = False
    temperable: bool = True  # whether `objectives.Beta` can weigh prior and guide
    detail: Detail = "none"
    allowed_gradients: tuple[str, ...] = get_args(Gradient)
    unwatched = ("_known",)  # found anew for other programs: no reason to record a step again

    def __init__(
        self,
        *,
        num_particles: int = 1,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: str = "pathwise",
        baseline: Baseline = "leave_one_out",
    ) -> None:
        num_particles = whole_number("num_particles", num_particles, least=1)
        if gradient not in self.allowed_gradients:
            raise ValueError(
                f"gradient is {gradient!r}: {type(self).__name__} knows {', '.join(self.allowed_gradients)}"
            )
        if baseline not in get_args(Baseline):
            raise ValueError(
                f"baseline is {baseline!r}: the known ones are {', '.join(get_args(Baseline))}"
            )
        super().__init__(num_particles=num_particles, vectorize_particles=vectorize_particles)
        self.gradient = gradient
        self.baseline = baseline
        self.average = MovingAverage()
        self.average_outside = MovingAverage()
        self.nesting = None if math.isinf(max_plate_nesting) else int(max_plate_nesting)
        self._known: list[tuple[Program, Program, Layout]] = []

    @abstractmethod
    def bound(self, log_weights: Tensor) -> Tensor:
        """Reduce log-weights (K, ...) to bounds (...), in nats; for a datapoint each, (K, B) -> (B,)."""

    def guide_bound(self, log_weights: Tensor) -> Tensor:
        """The bound that the guide is trained on, (K, ...) -> (...): `bound`, if not said otherwise."""
        return self.bound(log_weights)

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """Derivative of the summed bound by each log-weight, (K, B): what a path gradient weighs by."""
        return weighing.coefficients(self.bound, log_weights)

    def dreg_coefficients(self, log_weights: Tensor) -> Tensor:
        """What the doubly reparameterised gradient weighs each particle's path by, (K, B)."""
        return weighing.dreg_coefficients(self.bound, log_weights)

    @property
    def draws(self) -> Draws:
        """What the draws are to be: attached to the guide, leaves in its graph, or plain values."""
        if self.gradient == "score":
            return "values"
        return "graph" if self.gradient == "pathwise" else "ports"

    def signal(self, particles: Particles) -> Tensor:
        """What the score of each draw without a gradient is multiplied by, (K, B)."""
        reduced = self.reduced(particles).detach()
        return learning_signal(self.guide_bound, reduced, self.baseline, self.average)

    def weights(self, particles: Particles) -> weighing.Weights | None:
        """What the terms of the particles weigh in the gradient; None to differentiate the target."""
        return weighing.path_weights(self, particles)

    def layout(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Layout:
        """Where these programs keep their datapoints; found once, and kept for the last few programs."""
        for known, its_guide, layout in self._known:
            if known == model and its_guide == guide:
                return layout
        found = find_layout(model, guide, args, kwargs, nesting=self.nesting, whole=True)
        self._known = [(model, guide, found), *self._known[: MOST_KNOWN - 1]]
        return found

    def run(
        self, model: Program, guide: Program, args: Any, kwargs: Any, *, draws: Draws = "graph"
    ) -> Particles:
        """Run both programs with this objective's number of particles."""
        run = run_particles if self.vectorize_particles else stack_particles
        layout = self.layout(model, guide, args, kwargs)
        try:
            return run(
                model,
                guide,
                args,
                kwargs,
                num_particles=self.num_particles,
                layout=layout,
                linear=self.linear,
                draws=draws,
                detail=self.detail,
            )
        except (ValueError, RuntimeError, IndexError) as error:
            if self.vectorize_particles and self.num_particles > 1:
                error.add_note(
                    "All particles run at once, along a dimension left of all plates; if these programs "
                    "cannot take one more dimension, set vectorize_particles=False on the objective."
                )
            found = find_layout(model, guide, args, kwargs, whole=True)
            if found.nesting > layout.nesting:
                raise ValueError(
                    f"the plates of these programs take {found.nesting} dimensions, and took "
                    f"{layout.nesting} when this objective first saw them, so that one is now where the "
                    f"particles are: set max_plate_nesting={found.nesting} on the objective"
                ) from error
            raise

    def value(self, particles: Particles) -> Tensor:
        """The bound of the whole data set, a scalar: N / B times the sum over the batch, plus globals."""
        return self.local_bound(particles).sum() * particles.scale + particles.log_outside

    def local_bound(self, particles: Particles) -> Tensor:
        """The bound of each datapoint, (B,)."""
        return self.bound(self.reduced(particles))

    def reduced(self, particles: Particles) -> Tensor:
        """What `bound` is a function of, (K, B): what the guide enumerates is averaged or summed out."""
        return particles.averaged if self.linear else particles.log_weights

    def target(self, particles: Particles) -> Tensor:
        """What is differentiated, a scalar: the bound, if not said otherwise."""
        return self.value(particles)

    def surrogate(self, particles: Particles) -> Tensor:
        """A scalar that has the gradient asked for, whatever its value."""
        return gradients.surrogate(self, particles)

    @torch.no_grad()
    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Minus the bound of the data set, in nats, as a number; computes no gradient."""
        return -float(self.value(self.run(model, guide, args, kwargs)))

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Minus the bound of the data set, in nats, as a tensor that carries the chosen gradient."""
        particles = self.run(model, guide, args, kwargs, draws=self.draws)
        return -carrying(self.value(particles).detach(), self.surrogate(particles))

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Compute the gradient into the parameters' ``.grad``, and return minus the bound as a number."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach())

    def state(self) -> dict[str, Tensor]:
        """The tensors that change, in place, as training goes on: moving averages and counts of steps."""
        return {
            f"{name}.{key}": tensor
            for name, average in (("average", self.average), ("outside", self.average_outside))
            for key, tensor in average.tensors().items()
        }

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` held, for a fit that is taken up again."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError("the objectives of this package reduce log-weights and keep no traces")


def carrying(value: Tensor, surrogate: Tensor) -> Tensor:
    """The value, with the gradient of the surrogate."""
    return value + (surrogate - surrogate.detach())
