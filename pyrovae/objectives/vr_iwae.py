"""The VR-IWAE bound."""

from __future__ import annotations

import math

from torch import Tensor

from pyrovae.objective import Gradient, Objective
from pyrovae.surrogates.baselines import Baseline
from pyrovae.surrogates.bounds import renyi_bound, renyi_coefficients, renyi_dreg_coefficients


class VRIWAE(Objective):
    r"""The variational Renyi bound with importance weights, for the orders at which it is a bound.

    .. math:: \mathcal{L}_{\alpha, K} = \frac{1}{1 - \alpha}
              \log \frac{1}{K} \sum_{k=1}^{K} w_k^{1 - \alpha}, \qquad 0 \le \alpha < 1

    What it bounds: log p(x) from below in expectation, at every K. As K grows it rises to the
    variational Renyi bound of order alpha, which lies below log p(x) for alpha > 0, at a rate of 1 / K.

    Gradient: ``"dreg"`` (default) and ``"pathwise"`` are unbiased, and for alpha > 0 both have a
    signal-to-noise ratio that grows as sqrt(K), where that of the IWAE falls under ``"pathwise"``.
    ``"stl"`` is biased for K > 1. ``"score"`` and draws without a gradient take a leave-one-out baseline.

    Cost: K evaluations of model and guide per datapoint; ``"stl"`` and ``"dreg"`` go back through the
    model twice where the guide draws more than one site.

    When to use it: in place of the IWAE where weights vary too much for it: in many latent dimensions
    both collapse towards the ELBO unless K grows with the exponential of the dimension, and alpha > 0
    trades the tightness that is not had for a steadier gradient.

    Args:
        alpha: the order, at least 0 and below 1; 0 is the IWAE.
        num_particles: K.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: ``"dreg"``, ``"pathwise"``, ``"stl"`` or ``"score"``.
        baseline: of the score function: ``"leave_one_out"``, ``"moving_average"`` or ``"none"``.

    Returns:
        ``loss`` and its relatives return minus the bound of the data set, in nats.

    Raises:
        ValueError: alpha outside [0, 1): other orders are those of `pyrovae.objectives.Renyi`.

    Source: Alpha-divergence variational inference meets importance weighted auto-encoders: methodology
    and asymptotics (Daudel, Benton, Shi & Doucet, 2023).

    How to read it: for alpha > 0 its gap to log p(x) does not close as K grows.

    Example:
        >>> import torch
        >>> VRIWAE(alpha=0.2, num_particles=2).bound(torch.tensor([[-2.0], [-2.0]]))
        tensor([-2.])
    """

    def __init__(
        self,
        *,
        alpha: float = 0.2,
        num_particles: int = 10,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: Gradient = "dreg",
        baseline: Baseline = "leave_one_out",
    ) -> None:
        if not 0 <= alpha < 1:
            raise ValueError(
                f"alpha is {alpha}: the VR-IWAE bound needs an order of at least 0 and below 1; for "
                "alpha = 1 use objectives.ELBO, for other orders objectives.Renyi"
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
