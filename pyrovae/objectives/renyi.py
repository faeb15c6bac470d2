"""The variational Renyi bound."""

from __future__ import annotations

import math

from torch import Tensor

from pyrovae.objective import Gradient, Objective
from pyrovae.surrogates.baselines import Baseline
from pyrovae.surrogates.bounds import renyi_bound, renyi_coefficients, renyi_dreg_coefficients


class Renyi(Objective):
    r"""The variational Renyi bound of order alpha, of each datapoint.

    .. math:: \mathcal{L}_\alpha = \frac{1}{1 - \alpha} \log \frac{1}{K} \sum_{k=1}^{K} w_k^{1 - \alpha}

    What it bounds: for alpha >= 0, log p(x) from below in expectation at every K, the more tightly the
    smaller alpha. For alpha < 0 it bounds log p(x) from above as K goes to infinity; with a finite K the
    estimate may lie on either side.

    Gradient: ``"pathwise"`` and ``"dreg"`` are unbiased for the expectation of the estimate; ``"dreg"``
    has the lower variance, and for 0 < alpha < 1 its signal-to-noise ratio grows as sqrt(K) under both.
    ``"stl"`` is biased for K > 1. ``"score"`` and draws without a gradient take a leave-one-out baseline.

    Cost: K evaluations of model and guide per datapoint; ``"stl"`` and ``"dreg"`` go back through the
    model twice where the guide draws more than one site.

    When to use it: to move between the ELBO (alpha near 1), which lets a guide fall on one mode, and
    bounds whose guide covers the posterior (alpha at or below 0).

    Args:
        alpha: the order, any number but 1. 0 is the importance-weighted bound, minus infinity takes the
            largest weight (VR-max); towards 1 the bound meets the ELBO.
        num_particles: K.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: ``"pathwise"``, ``"dreg"``, ``"stl"`` or ``"score"``.
        baseline: of the score function: ``"leave_one_out"``, ``"moving_average"`` or ``"none"``.

    Returns:
        ``loss`` and its relatives return minus the bound of the data set, in nats: the scale N / B of a
        subsampled plate multiplies the bound of a datapoint, never its weights.

    Raises:
        ValueError: alpha is 1 (use `pyrovae.objectives.ELBO`) or not a number.

    Source: Renyi divergence variational inference (Li & Turner, 2016).

    How to read it: bounds of different alpha are comparable as bounds for alpha >= 0 only; compare fits
    by the evidence.

    Example:
        >>> import torch
        >>> Renyi(alpha=0.5, num_particles=2).bound(torch.tensor([[0.0], [0.0]]))
        tensor([0.])
    """

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        num_particles: int = 10,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: Gradient = "pathwise",
        baseline: Baseline = "leave_one_out",
    ) -> None:
        if alpha == 1 or math.isnan(alpha) or alpha == math.inf:
            raise ValueError(
                f"alpha is {alpha}: the Renyi bound needs an order other than 1, a number or -inf; "
                "for alpha = 1 use objectives.ELBO"
            )
        if alpha == -math.inf and gradient == "dreg":
            raise ValueError(
                "gradient='dreg' needs weights that are a smooth function of the draws, and alpha=-inf takes "
                "the largest: use gradient='pathwise', or a large negative alpha"
            )
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            gradient=gradient,
            baseline=baseline,
        )
        self.alpha = float(alpha)

    def bound(self, log_weights: Tensor) -> Tensor:
        """Log of the mean power, rescaled: (K, ...) -> (...), in nats."""
        return renyi_bound(log_weights, self.alpha)

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """Normalised powers of the weights, (K, B)."""
        return renyi_coefficients(log_weights, self.alpha)

    def dreg_coefficients(self, log_weights: Tensor) -> Tensor:
        """alpha v + (1 - alpha) v^2 of the normalised powers v, (K, B)."""
        return renyi_dreg_coefficients(log_weights, self.alpha)
