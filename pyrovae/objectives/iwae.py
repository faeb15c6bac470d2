"""The importance-weighted bound."""

from __future__ import annotations

import math

from torch import Tensor

from pyrovae.bounds import log_mean_exp
from pyrovae.objective import Gradient, Objective


class IWAE(Objective):
    r"""The importance-weighted bound of each datapoint: the Renyi bound of order 0.

    .. math:: \mathcal{L}_K = \log \frac{1}{K} \sum_{k=1}^{K} w_k

    Args:
        num_particles: K; the bound rises to log p(x) as K grows.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: ``"pathwise"``, ``"dreg"`` (unbiased, and better for large K), ``"stl"`` (biased for
            K > 1) or ``"score"``.

    Returns:
        ``loss`` and its relatives return minus the bound of the data set, in nats: the scale N / B of a
        subsampled plate multiplies the bound of a datapoint, never its weights.

    Raises:
        ValueError: K below 1 or an unknown gradient.

    Source: Importance weighted autoencoders (Burda, Grosse & Salakhutdinov, 2016).

    How to read it: a lower bound on log p(x) in expectation, never worse than the ELBO of the same guide.

    Example:
        >>> import torch
        >>> IWAE(num_particles=2).bound(torch.tensor([[-1.0], [-1.0]]))
        tensor([-1.])
    """

    def __init__(
        self,
        *,
        num_particles: int = 10,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: Gradient = "pathwise",
    ) -> None:
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            gradient=gradient,
        )

    def bound(self, log_weights: Tensor) -> Tensor:
        """Log-mean-exp over particles: (K, B) -> (B,), in nats."""
        return log_mean_exp(log_weights)

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """Normalised weights, (K, B)."""
        return log_weights.softmax(0)

    def dreg_coefficients(self, log_weights: Tensor) -> Tensor:
        """Squares of the normalised weights, (K, B)."""
        return log_weights.softmax(0).square()
