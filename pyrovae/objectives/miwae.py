"""The mean of several importance-weighted bounds."""

from __future__ import annotations

import math

from torch import Tensor

from pyrovae.objective import Gradient, Objective
from pyrovae.surrogates.baselines import Baseline
from pyrovae.surrogates.bounds import check_groups, log_mean_exp


class MIWAE(Objective):
    r"""The mean of M importance-weighted bounds of K particles each.

    .. math:: \mathcal{L}_{M, K} = \frac{1}{M} \sum_{m=1}^{M} \log \frac{1}{K} \sum_{k=1}^{K} w_{mk}

    What it bounds: log p(x) from below in expectation, as tightly as the IWAE of K particles.

    Gradient: as that of the IWAE of K particles, with its variance divided by M: the signal-to-noise ratio
    of the guide goes as sqrt(M / K) under ``"pathwise"`` and as sqrt(M K) under ``"dreg"``, that of the
    model as sqrt(M K).

    Cost: M K = ``num_particles`` evaluations of model and guide per datapoint.

    When to use it: for a given budget, with a guide trained by ``"pathwise"`` or by score functions,
    whose gradient would drown in noise if all particles were put into one bound.

    Args:
        num_particles: M K, all particles together.
        groups: M, into how many bounds they are divided; 1 is the IWAE, ``num_particles`` the ELBO.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: ``"pathwise"``, ``"dreg"``, ``"stl"`` (biased for K > 1) or ``"score"``.
        baseline: of the score function: ``"leave_one_out"``, ``"moving_average"`` or ``"none"``.

    Returns:
        ``loss`` and its relatives return minus the bound of the data set, in nats.

    Raises:
        ValueError: ``groups`` does not divide ``num_particles``.

    Source: Tighter variational bounds are not necessarily better (Rainforth et al., 2018).

    How to read it: between the ELBO and the IWAE of the same number of particles.

    Example:
        >>> import torch
        >>> MIWAE(num_particles=4, groups=2).bound(torch.full((4, 1), -1.0))
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
        """Log-mean-exp in each group, and the mean over groups: (M K, ...) -> (...), in nats."""
        return log_mean_exp(log_weights.unflatten(0, (self.groups, -1)), dim=1).mean(0)

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """Weights normalised in each group, over M: (M K, B)."""
        grouped = log_weights.unflatten(0, (self.groups, -1))
        return grouped.softmax(1).flatten(0, 1) / self.groups

    def dreg_coefficients(self, log_weights: Tensor) -> Tensor:
        """Their squares, over M: (M K, B)."""
        grouped = log_weights.unflatten(0, (self.groups, -1))
        return grouped.softmax(1).square().flatten(0, 1) / self.groups
