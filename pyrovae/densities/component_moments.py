"""What the M-step of a mixture of normals is made of: means and covariances of weighted rows."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrovae.densities.incomplete import expected_moments
from pyrovae.densities.missing import any_missing


def component_moments(
    x: Tensor, responsibilities: Tensor, loc: Tensor, scale: Tensor, *, tied: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Counts, means and covariances of the rows that each component of a mixture answers for.

    Args:
        x: (N, D), of float64, in which NaN is missing and counts as the components now expect it.
        responsibilities: (N, C).
        loc: (C, D), of the components now.
        scale: of the components now: standard deviations (C, D), or lower triangular factors, (C, D, D) or
            (1, D, D).
        tied: whether all components have one covariance.

    Returns:
        (C,), (C, D), and variances (C, D) or covariances (C, D, D), or (D, D) if tied.

    Example:
        >>> x = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
        >>> every, loc, scale = torch.ones_like(x), torch.zeros(1, 1), torch.ones(1, 1)
        >>> [part.tolist() for part in component_moments(x, every, loc, scale, tied=False)]
        [[2.0], [[1.0]], [[1.0]]]
    """
    # Squares are taken around the mean of all: those of columns far from 0 would leave no digits.
    shift = x.nanmean(0).nan_to_num() if any_missing(x) else x.mean(0)
    x = x - shift
    # So much is added that a component without rows does not divide by zero.
    counts = responsibilities.sum(0) + 10 * torch.finfo(x.dtype).eps
    if any_missing(x):
        means, covariances = _expected(x, responsibilities, counts, loc.to(x) - shift, scale, tied)
    else:
        means = responsibilities.mT @ x / counts[:, None]
        covariances = _observed(x, responsibilities, counts, means, scale.ndim == 2, tied)
    return counts, means + shift, covariances


def _observed(
    x: Tensor, responsibilities: Tensor, counts: Tensor, means: Tensor, diagonal: bool, tied: bool
) -> Tensor:
    if diagonal:
        return responsibilities.mT @ x.square() / counts[:, None] - means.square()
    if tied:
        # Each row counts as often as its responsibilities say, whose sum is 1 but for rounding.
        whole = (x.mT * responsibilities.sum(1)) @ x
        return (whole - (counts * means.mT) @ means) / counts.sum()
    centred = (x - centre for centre in means)
    each = zip(centred, responsibilities.mT, counts, strict=True)
    return torch.stack([(rows.mT * weight) @ rows / count for rows, weight, count in each])


def _expected(
    x: Tensor, responsibilities: Tensor, counts: Tensor, loc: Tensor, scale: Tensor, tied: bool
) -> tuple[Tensor, Tensor]:
    scales = scale.to(x).expand(len(loc), *scale.shape[1:])
    moments = [
        expected_moments(x, *component)
        for component in zip(responsibilities.mT, loc, scales, strict=True)
    ]
    means = torch.stack([first for first, _ in moments]) / counts[:, None]
    second = torch.stack([second for _, second in moments])
    if scale.ndim == 2:
        return means, second / counts[:, None] - means.square()
    if tied:
        return means, (second.sum(0) - (counts * means.mT) @ means) / counts.sum()
    return means, second / counts[:, None, None] - means[:, :, None] * means[:, None]
