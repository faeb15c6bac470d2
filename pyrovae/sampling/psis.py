"""How far the weights of each datapoint can be trusted: Pareto k-hat and effective sample size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

NARROW = 1e-3  # nats: weights that differ by less have no tail to speak of, only rounding
LEAST_TAIL = 5  # draws that a fit of the tail needs
_PRIOR_B, _PRIOR_K = 3.0, 10.0  # of Zhang & Stephens' fit
_COLUMNS = 256  # datapoints fitted at once


@dataclass(frozen=True)
class Smoothed:
    """Log-weights whose tail was smoothed, and the shape of the tail.

    Attributes:
        log_weights: (K, B), normalised so that their exponentials sum to 1 over K.
        k_hat: (B,), the shape of the fitted tail.
    """

    log_weights: Tensor
    k_hat: Tensor


def k_hat(log_weights: Tensor) -> Tensor:
    r"""Pareto k-hat of each datapoint: the shape of the tail of its importance weights.

    .. math:: P(w > u + t \mid w > u) \approx (1 + \hat k t / \sigma)^{-1 / \hat k}

    Args:
        log_weights: (K, B), in nats.

    Returns:
        (B,), float64, without unit. 0 where all weights are equal to a thousandth of a nat, as under a
        perfect guide; infinite where fewer than five draws make the tail, so that nothing can be said.

    Source: Pareto smoothed importance sampling (Vehtari, Simpson, Gelman, Yao & Gabry, 2024); Yes, but did
    it work? Evaluating variational inference (Yao, Vehtari, Simpson & Gelman, 2018).

    How to read it: weights have a finite variance below 0.5 and a finite mean below 1. Above
    `threshold` the estimate cannot be trusted at this number of draws, and its standard error neither.

    Example:
        >>> k_hat(torch.zeros(100, 2)).tolist()
        [0.0, 0.0]
    """
    return smooth(log_weights).k_hat


def threshold(num_particles: int) -> float:
    """The k-hat above which an estimate from so many draws is not to be trusted: ArviZ's own.

    Example:
        >>> round(threshold(1000), 3), threshold(100_000)
        (0.667, 0.7)
    """
    return min(1.0 - 1.0 / math.log10(num_particles), 0.7) if num_particles > 1 else -math.inf


def effective_sample_size(log_weights: Tensor) -> Tensor:
    r"""Effective sample size of each datapoint's weights.

    .. math:: \text{ess} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2}

    Args:
        log_weights: (K, B), in nats.

    Returns:
        (B,), float64, from 1 to K: how many draws of the posterior the weighted ones are worth.

    Source: A note on importance sampling using standardized weights (Kong, 1992).

    How to read it: K under a perfect guide. A small one is bad; a large one is good only where k-hat is
    small, since weights that were never drawn are not counted.

    Example:
        >>> effective_sample_size(torch.zeros(100, 2)).tolist()
        [100.0, 100.0]
    """
    log_weights = log_weights.detach().double()
    return (2.0 * log_weights.logsumexp(0) - (2.0 * log_weights).logsumexp(0)).exp()


def smooth(log_weights: Tensor) -> Smoothed:
    """Pareto smoothed importance sampling: the largest weights replaced by what their fitted tail expects.

    Args:
        log_weights: (K, B), in nats.

    Raises:
        ValueError: weights that are not a number, or of another shape.

    Source: Pareto smoothed importance sampling (Vehtari, Simpson, Gelman, Yao & Gabry, 2024).
    """
    if log_weights.dim() != 2 or log_weights.isnan().any():
        raise ValueError(
            f"log_weights has the shape {tuple(log_weights.shape)}, and NaN in "
            f"{int(log_weights.isnan().sum())} places: it must be (K, B) and all numbers"
        )
    parts = [_smooth(part) for part in log_weights.detach().double().split(_COLUMNS, 1)]
    return Smoothed(
        torch.cat([weights for weights, _ in parts], 1), torch.cat([k for _, k in parts])
    )


def _smooth(x: Tensor) -> tuple[Tensor, Tensor]:
    count = len(x)
    x = x - x.amax(0)
    ranked, order = x.sort(0)
    last = math.ceil(min(count / 5.0, 3.0 * count**0.5)) + 1
    tiny = math.log(torch.finfo(torch.float64).tiny)
    cutoff = ranked[max(count - last, 0)].clamp(min=tiny)
    lengths = (x > cutoff).sum(0)
    k = x.new_full((x.shape[1],), math.inf)
    k[ranked[-1] - ranked[0] < NARROW] = 0.0
    for length in lengths.unique().tolist():
        chosen = (lengths == length) & k.isinf()
        if length < LEAST_TAIL or not chosen.any():
            continue
        columns = chosen.nonzero()[:, 0]
        edge = cutoff[columns].exp()
        tail = ranked[-length:, columns].exp() - edge
        shape, scale = _fit(tail)
        k[columns] = shape
        ranks = torch.arange(0.5, length, dtype=x.dtype, device=x.device) / length
        smoothed = (_quantile(ranks[:, None], shape, scale) + edge).log().clamp(max=0.0)
        fitted = shape.isfinite()
        ranked[-length:, columns[fitted]] = smoothed[:, fitted]
    x = torch.empty_like(x).scatter_(0, order, ranked)
    return x - x.logsumexp(0), k


def _fit(tail: Tensor) -> tuple[Tensor, Tensor]:
    """Shape and scale of generalised Pareto tails (n, B), sorted: an approximate posterior mean.

    Source: A new and efficient estimation method for the generalized Pareto distribution (Zhang &
    Stephens, 2009).
    """
    n = len(tail)
    grid = 30 + int(n**0.5)
    steps = torch.arange(1, grid + 1, dtype=tail.dtype, device=tail.device) - 0.5
    quartile = tail[int(n / 4 + 0.5) - 1]
    b = (1.0 - (grid / steps).sqrt())[:, None] / (_PRIOR_B * quartile) + 1.0 / tail[-1]
    k = torch.log1p(-b[:, None] * tail).mean(1)  # (grid, B)
    profile = n * ((-b / k).log() - k - 1.0)
    weights = 1.0 / (profile[None] - profile[:, None]).exp().sum(1)
    weights = torch.where(weights >= 10 * torch.finfo(tail.dtype).eps, weights, 0.0)
    b_mean = (b * weights / weights.sum(0)).sum(0)
    shape = torch.log1p(-b_mean * tail).mean(0)
    return (n * shape + _PRIOR_K * 0.5) / (n + _PRIOR_K), -shape / b_mean


def _quantile(ranks: Tensor, shape: Tensor, scale: Tensor) -> Tensor:
    """Quantiles of generalised Pareto distributions."""
    log_rest = torch.log1p(-ranks)
    curved = torch.expm1(-shape * log_rest) / shape
    straight = shape.abs() < torch.finfo(shape.dtype).eps
    return torch.where(straight, -log_rest, curved) * scale
