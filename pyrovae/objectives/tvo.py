"""The thermodynamic variational objective."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from pyrovae.log_weights import Draws
from pyrovae.objective import Objective
from pyrovae.surrogates import weighing
from pyrovae.surrogates.baselines import Baseline
from pyrovae.surrogates.bounds import thermodynamic_bound, thermodynamic_coefficients
from pyrovae.waist.particles import Particles


class TVO(Objective):
    r"""The thermodynamic variational objective: the left Riemann sum of the path from guide to posterior.

    .. math:: \mathcal{L} = \sum_{s=0}^{S-1} (\beta_{s+1} - \beta_s)
              \sum_{k=1}^{K} \tilde w_k^{(\beta_s)} \log w_k, \qquad
              \tilde w_k^{(\beta)} = \frac{w_k^\beta}{\sum_j w_j^\beta}

    What it bounds: log p(x) from below in expectation, at every K and every partition: the integrand
    rises with beta, so that the left sum lies below the integral, which is the importance-weighted bound
    of the same particles; and above their ELBO, which is its value at beta = 0.

    Gradient: ``"covariance"`` (default), that of the paper, estimates the gradient of the exact Riemann
    sum with self-normalised weights: biased for finite K, consistent, without any path, so that discrete
    latents cost nothing extra. ``"pathwise"`` and ``"dreg"`` are unbiased for the expectation of the
    value; ``"stl"`` is biased; ``"score"`` takes a leave-one-out baseline.

    Cost: K evaluations of model and guide per datapoint; the partition costs next to nothing.

    When to use it: for discrete or mixed latents; as an alternative to reweighted wake-sleep that has one
    objective for model and guide.

    Args:
        partitions: S, how many intervals; 1 is the ELBO.
        beta_min: the first temperature after 0; the others lie evenly on a log scale between it and 1.
        num_particles: K.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: ``"covariance"``, ``"pathwise"``, ``"dreg"``, ``"stl"`` or ``"score"``.
        baseline: of the score function: ``"leave_one_out"``, ``"moving_average"`` or ``"none"``.

    Returns:
        ``loss`` and its relatives return minus the bound of the data set, in nats.

    Raises:
        ValueError: no interval, or a first temperature that is not between 0 and 1.

    Source: The thermodynamic variational objective (Masrani, Le & Wood, 2019).

    How to read it: between the ELBO and the IWAE of the same particles, for every single draw.

    Example:
        >>> import torch
        >>> TVO(num_particles=2).bound(torch.tensor([[-1.0], [-1.0]]))
        tensor([-1.])
    """

    allowed_gradients = ("covariance", "pathwise", "dreg", "stl", "score")

    def __init__(
        self,
        *,
        partitions: int = 5,
        beta_min: float = 0.025,
        num_particles: int = 10,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: Literal["covariance", "pathwise", "dreg", "stl", "score"] = "covariance",
        baseline: Baseline = "leave_one_out",
    ) -> None:
        if partitions < 1 or not 0 < beta_min < 1:
            raise ValueError(
                f"partitions is {partitions} and beta_min {beta_min}: at least one interval is needed, and "
                "a first temperature between 0 and 1"
            )
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            gradient=gradient,
            baseline=baseline,
        )
        powers = torch.linspace(math.log(beta_min), 0.0, partitions, dtype=torch.float64)
        self.partition = torch.cat([powers.new_zeros(1), powers.exp()])
        self.partition[-1] = 1.0

    def temperatures(self, like: Tensor) -> Tensor:
        """The partition, (S + 1,), where ``like`` is and in its precision."""
        if self.partition.device != like.device:
            self.partition = self.partition.to(like.device)  # once, not at every step
        return self.partition.to(like.dtype)

    def bound(self, log_weights: Tensor) -> Tensor:
        """The left Riemann sum: (K, ...) -> (...), in nats."""
        return thermodynamic_bound(log_weights, self.temperatures(log_weights))

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """Derivative by each log-weight, (K, B)."""
        return thermodynamic_coefficients(log_weights, self.temperatures(log_weights))[0]

    def dreg_coefficients(self, log_weights: Tensor) -> Tensor:
        """What the doubly reparameterised path is weighed by, (K, B)."""
        return thermodynamic_coefficients(log_weights, self.temperatures(log_weights))[1]

    @property
    def temperable(self) -> bool:  # type: ignore[override]
        """The covariance is that of untempered weights."""
        return self.gradient != "covariance"

    @property
    def draws(self) -> Draws:
        """Values, where nothing is differentiated through them."""
        if self.gradient in ("covariance", "score"):
            return "values"
        return "graph" if self.gradient == "pathwise" else "leaves"

    def weights(self, particles: Particles) -> weighing.Weights | None:
        """For the covariance, what the model and the guide's density weigh."""
        if self.gradient != "covariance":
            return weighing.path_weights(self, particles)
        weighing.refuse_outside(self, particles)
        partition = self.temperatures(particles.log_joint)
        log_weights = particles.log_weights.detach()
        single, _, _ = thermodynamic_coefficients(log_weights, partition)
        model = weighing.spread(self, particles, single)
        return weighing.Weights(model, density=-model)

    def signal(self, particles: Particles) -> Tensor:
        """For the covariance, its own weight of the score of each draw, (K, B)."""
        if self.gradient != "covariance":
            return super().signal(particles)
        log_weights = particles.log_weights.detach()
        return thermodynamic_coefficients(log_weights, self.temperatures(log_weights))[2]
