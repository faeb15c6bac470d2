"""What a normal expects of values that are missing: conditional means, draws and moments."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.densities.missing import MarginalNormal


def expected_moments(
    x: Tensor, weights: Tensor, loc: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted sums of E x and of E x x', given what is observed of each row.

    Args:
        x: (N, D), in which NaN is missing.
        weights: (N,), of the rows.
        loc: (D,), the mean of the normal.
        scale: (D,), standard deviations, or (D, D), a lower triangular factor of the covariance.

    Returns:
        (D,), and (D,) squares or (D, D) products, as ``scale`` is.

    Example:
        >>> x = torch.tensor([[1.0, torch.nan]])
        >>> expected_moments(x, torch.ones(1), torch.zeros(2), torch.tensor([1.0, 2.0]))
        (tensor([1., 0.]), tensor([1., 4.]))
    """
    missing = x.isnan()
    if scale.ndim == 1:
        mean = torch.where(missing, loc, x)
        squares = mean.square() + torch.where(missing, scale.square(), 0.0)
        return weights @ mean, weights @ squares
    given = MarginalNormal(loc, scale, ~missing)
    mean, gain = conditional_mean(given, x), _gain(given)
    covariance = scale @ scale.mT
    # Of the missing dimensions given those observed; 0 elsewhere.
    both = missing.unsqueeze(-1) & missing.unsqueeze(-2)
    left = torch.where(both, covariance - gain @ covariance, 0.0)
    products = (mean.mT * weights) @ mean + torch.einsum("n,nij->ij", weights, left)
    return weights @ mean, products


def conditional_mean(distribution: Any, x: Tensor) -> Tensor:
    """``x`` (..., D) with the mean of what is missing, given z and what is observed, in its place.

    Args:
        distribution: p(x | z), independent dimensions or a `MarginalNormal`.
        x: the data.
    """
    if not isinstance(distribution, MarginalNormal):
        return torch.where(x.isnan(), distribution.mean, x)
    residual = torch.where(x.isnan(), 0.0, x - distribution.loc)
    mean = distribution.loc + (_gain(distribution) @ residual.unsqueeze(-1)).squeeze(-1)
    return torch.where(x.isnan(), mean, x)


def conditional_draw(distribution: Any, x: Tensor) -> Tensor:
    """``x`` (..., D) with a draw of what is missing, given z and what is observed, in its place.

    Args:
        distribution: p(x | z), independent dimensions or a `MarginalNormal`.
        x: the data.
    """
    if not isinstance(distribution, MarginalNormal):
        return torch.where(x.isnan(), distribution.sample(), x)
    # A draw of the whole row, moved by as much as its observed part is off.
    whole = dist.MultivariateNormal(distribution.loc, scale_tril=distribution.whole).sample()
    off = torch.where(x.isnan(), 0.0, x - whole)
    return torch.where(x.isnan(), whole + (_gain(distribution) @ off.unsqueeze(-1)).squeeze(-1), x)


def _gain(distribution: MarginalNormal) -> Tensor:
    """C C_oo^-1 in the columns of what is observed, and 0 elsewhere: (..., D, D)."""
    covariance = distribution.whole @ distribution.whole.mT
    inverse = torch.cholesky_inverse(distribution.scale_tril)
    observed = distribution.present.to(covariance.dtype)
    inverse = inverse * observed.unsqueeze(-1) * observed.unsqueeze(-2)
    return covariance @ inverse
