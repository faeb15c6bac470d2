"""The variational Renyi bound."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae.bounds import renyi_bound
from pyrovae.objective import Gradient, Objective


class Renyi(Objective):
    r"""The variational Renyi bound of order alpha, of each datapoint.

    .. math:: \mathcal{L}_\alpha = \frac{1}{1 - \alpha} \log \frac{1}{K} \sum_{k=1}^{K} w_k^{1 - \alpha}

    Args:
        alpha: the order, any number but 1. 0 is the importance-weighted bound, minus infinity takes the
            largest weight (VR-max); towards 1 the bound meets the ELBO.
        num_particles: K.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: ``"pathwise"``, ``"dreg"``, ``"stl"`` (biased for K > 1) or ``"score"``.

    Returns:
        ``loss`` and its relatives return minus the bound of the data set, in nats: the scale N / B of a
        subsampled plate multiplies the bound of a datapoint, never its weights.

    Raises:
        ValueError: alpha is 1 (use `pyrovae.objectives.ELBO`) or not a number.

    Source: Renyi divergence variational inference (Li & Turner, 2016).

    How to read it: for alpha >= 0 a lower bound on log p(x) in expectation, the tighter the smaller
    alpha; for alpha < 0 with a finite K the estimate may lie above log p(x).

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
    ) -> None:
        if alpha == 1 or math.isnan(alpha) or alpha == math.inf:
            raise ValueError(
                f"alpha is {alpha}: the Renyi bound needs an order other than 1, a number or -inf; "
                "for alpha = 1 use objectives.ELBO"
            )
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            gradient=gradient,
        )
        self.alpha = float(alpha)

    def bound(self, log_weights: Tensor) -> Tensor:
        """Log of the mean power, rescaled: (K, B) -> (B,), in nats."""
        return renyi_bound(log_weights, self.alpha)

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """Normalised powers of the weights, (K, B)."""
        if math.isinf(self.alpha):
            return torch.nn.functional.one_hot(log_weights.argmax(0), len(log_weights)).T.to(
                log_weights
            )
        return ((1.0 - self.alpha) * log_weights).softmax(0)

    def dreg_coefficients(self, log_weights: Tensor) -> Tensor:
        """alpha w + (1 - alpha) w^2 of the normalised weights, (K, B)."""
        weights = self.coefficients(log_weights)
        if math.isinf(self.alpha):
            return weights
        return self.alpha * weights + (1.0 - self.alpha) * weights.square()
