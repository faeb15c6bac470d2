"""Reductions of log-weights over particles, each in the way that loses no precision.

All reduce the first dimension, the particles, and take any shape behind it: (K, ...) -> (...).
"""

from __future__ import annotations

import math

import torch
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
    power = 1.0 - alpha
    if abs(power) < 3e-3:
        # The quotient of two small numbers; around one end neither loses its digits nor grows too large.
        end = (log_weights.amax(0) if power > 0 else log_weights.amin(0)).detach()
        return end + (power * (log_weights - end)).expm1().mean(0).log1p() / power
    return log_mean_exp(power * log_weights) / power


def renyi_coefficients(log_weights: Tensor, alpha: float) -> Tensor:
    """Derivative of the summed Renyi bound by each log-weight: the normalised powers of the weights."""
    if math.isinf(alpha):
        largest = (log_weights == log_weights.amax(0)).to(log_weights.dtype)
        return largest / largest.sum(0)
    return ((1.0 - alpha) * log_weights).softmax(0)


def renyi_dreg_coefficients(log_weights: Tensor, alpha: float) -> Tensor:
    """What the doubly reparameterised gradient weighs the path of each particle by.

    With the normalised powers v of the weights: alpha v + (1 - alpha) v^2.
    """
    weights = renyi_coefficients(log_weights, alpha)
    if math.isinf(alpha):
        return weights
    return alpha * weights + (1.0 - alpha) * weights.square()


def thermodynamic_bound(log_weights: Tensor, partition: Tensor) -> Tensor:
    """Left Riemann sum of the mean log-weight under w^beta, over beta from 0 to 1.

    Args:
        log_weights: (K, ...), in nats.
        partition: (S + 1,), from 0 to 1, increasing.

    Example:
        >>> import torch
        >>> thermodynamic_bound(torch.full((5, 2), -3.0), torch.tensor([0.0, 0.5, 1.0]))
        tensor([-3., -3.])
    """
    tempered, steps = _tempered(log_weights, partition)
    return (steps * (tempered * log_weights).sum(1)).sum(0)


def thermodynamic_coefficients(
    log_weights: Tensor, partition: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Three weights of each particle: derivative, doubly reparameterised, and of the score of its draws.

    With v the normalised weights at a temperature beta, and l the log-weight less its mean under v, the
    derivative is v (1 + beta l), its own derivative beta v (1 - v) (1 + beta l) + beta v (1 - v (1 +
    beta l)), and the covariance of the paper weighs the score of the guide's draws by v l.
    """
    tempered, steps = _tempered(log_weights, partition)
    beta = partition[:-1].reshape(steps.shape).unsqueeze(1)
    centred = log_weights - (tempered * log_weights).sum(1, keepdim=True)
    slope = tempered * (1.0 + beta * centred)
    second = beta * (1.0 - tempered) * slope + beta * tempered * (1.0 - slope)
    score = tempered * centred
    steps = steps.unsqueeze(1)
    return (steps * slope).sum(0), (steps * (slope - second)).sum(0), (steps * score).sum(0)


def _tempered(log_weights: Tensor, partition: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised w^beta at all but the last beta, (S, K, ...), and the widths of the intervals."""
    shape = (-1,) + (1,) * log_weights.dim()
    tempered = (partition[:-1].reshape(shape) * log_weights).softmax(1)
    return tempered, partition.diff().reshape(shape[:-1])


def leave_one_out(log_weights: Tensor) -> Tensor:
    """All sets in which one log-weight is replaced by the mean of the others: (K, ...) -> (K, K, ...).

    The first dimension is the particles of a set, the second says which one was replaced.
    """
    num_particles = len(log_weights)
    impossible = log_weights.isneginf()
    finite = log_weights.masked_fill(impossible, 0.0)
    others = (finite.sum(0) - finite) / (num_particles - 1)
    others = others.masked_fill(impossible.sum(0) > impossible.long(), -math.inf)
    eye = torch.eye(num_particles, dtype=torch.bool, device=log_weights.device)
    eye = eye.reshape(eye.shape + (1,) * (log_weights.dim() - 1))
    return torch.where(eye, others.unsqueeze(0), log_weights.unsqueeze(1))


def check_groups(groups: int, num_particles: int) -> int:
    """Return the number of groups, if all of them can have the same number of particles."""
    if (
        isinstance(groups, bool)
        or not isinstance(groups, int)
        or groups < 1
        or num_particles % groups
    ):
        raise ValueError(
            f"groups is {groups!r} and num_particles {num_particles}: num_particles counts all particles "
            "together, and groups must be a whole number that divides it"
        )
    return groups
