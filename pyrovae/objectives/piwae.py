"""One importance-weighted bound for the model, several for the guide."""

from __future__ import annotations

import math

from torch import Tensor

from pyrovae.log_weights import Draws
from pyrovae.objective import Gradient, Objective
from pyrovae.surrogates import weighing
from pyrovae.surrogates.baselines import Baseline
from pyrovae.surrogates.bounds import check_groups, log_mean_exp
from pyrovae.waist.particles import Particles


class PIWAE(Objective):
    r"""The importance-weighted bound of all particles for the model, of M groups of them for the guide.

    .. math:: \nabla_\theta \log \frac{1}{M K} \sum_{m, k} w_{mk}, \qquad
              \nabla_\phi \frac{1}{M} \sum_{m=1}^{M} \log \frac{1}{K} \sum_{k=1}^{K} w_{mk}

    What it bounds: log p(x) from below in expectation, as tightly as the IWAE of M K particles; that
    bound is the value reported.

    Gradient: of the model, that of the IWAE of M K particles, of the guide, that of the MIWAE, each
    unbiased for its own bound under ``"pathwise"`` and ``"dreg"``, but together the gradient of no one
    function. Signal-to-noise ratios go as sqrt(M K) for the model and sqrt(M / K) for the guide
    (sqrt(M K) under ``"dreg"``).

    Cost: M K = ``num_particles`` evaluations of model and guide per datapoint, and one more way back
    through the model.

    When to use it: where the model is to have the tightest bound and the guide must not suffer for it.

    Args:
        num_particles: M K, all particles together.
        groups: M, into how many bounds they are divided for the guide.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: of the guide: ``"pathwise"``, ``"dreg"``, ``"stl"`` (biased for K > 1) or ``"score"``.
        baseline: of the score function: ``"leave_one_out"``, ``"moving_average"`` or ``"none"``.

    Returns:
        ``loss`` and its relatives return minus the importance-weighted bound of all particles, summed
        over the data set, in nats.

    Raises:
        ValueError: ``groups`` does not divide ``num_particles``.

    Source: Tighter variational bounds are not necessarily better (Rainforth et al., 2018).

    How to read it: as the IWAE of the same number of particles.

    Example:
        >>> import torch
        >>> PIWAE(num_particles=4, groups=2).bound(torch.full((4, 1), -1.0))
        tensor([-1.])
    """

    def __init__(
        self,
        *,
        num_particles: int = 10,
        groups: int = 2,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: Gradient = "pathwise",
        baseline: Baseline = "leave_one_out",
    ) -> None:
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            gradient=gradient,
            baseline=baseline,
        )
        self.groups = check_groups(groups, num_particles)

    def bound(self, log_weights: Tensor) -> Tensor:
        """Log-mean-exp over all particles: (M K, ...) -> (...), in nats."""
        return log_mean_exp(log_weights)

    def guide_bound(self, log_weights: Tensor) -> Tensor:
        """Log-mean-exp in each group, and the mean over groups: (M K, ...) -> (...), in nats."""
        return log_mean_exp(log_weights.unflatten(0, (self.groups, -1)), dim=1).mean(0)

    @property
    def draws(self) -> Draws:
        """Leaves, so that model and guide can be weighed apart."""
        return "values" if self.gradient == "score" else "leaves"

    def weights(self, particles: Particles) -> weighing.Weights:
        """Normalised over all particles for the model, in each group for the guide."""
        if self.gradient in ("stl", "dreg"):
            weighing.refuse_undrawn(self, particles)
        log_weights = particles.log_weights.detach()
        grouped = log_weights.unflatten(0, (self.groups, -1)).softmax(1)
        single = grouped.flatten(0, 1) / self.groups
        model = weighing.spread(self, particles, log_weights.softmax(0))
        guide = weighing.spread(self, particles, single)
        if self.gradient == "dreg":
            double = grouped.square().flatten(0, 1) / self.groups
            path = weighing.spread_twice(self, particles, single, double)
            return weighing.Weights(model, path, shared=guide)
        density = None if self.gradient == "stl" else -guide
        return weighing.Weights(model, guide, density, shared=guide)
