"""Reductions of log-weights over particles, each in the way that loses no precision."""

from __future__ import annotations

import math

from torch import Tensor


def log_mean_exp(log_weights: Tensor, dim: int = 0) -> Tensor:
    """Return log of the mean of exp(log_weights) over ``dim``.

    Args:
        log_weights: any shape, in nats.
        dim: the dimension to reduce, the particles.

    Returns:
        The input's shape without ``dim``, in nats.

    Example:
        >>> import torch
        >>> log_mean_exp(torch.tensor([0.0, 0.0, 0.0]))
        tensor(0.)
    """
    return log_weights.logsumexp(dim) - math.log(log_weights.shape[dim])


def renyi_bound(log_weights: Tensor, alpha: float) -> Tensor:
    """Return the variational Renyi bound of each datapoint, (K, B) -> (B,), for alpha other than 1.

    ``alpha = -inf`` is the largest weight (VR-max).

    Example:
        >>> import torch
        >>> renyi_bound(torch.zeros(5, 2), alpha=0.5)
        tensor([0., 0.])
    """
    if math.isinf(alpha):
        return log_weights.amax(0)
    return log_mean_exp((1.0 - alpha) * log_weights) / (1.0 - alpha)
