"""Densities of many rows under many normals, by matrix products: fast, and for double precision only."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_normals(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    r"""Log-density of every row under every normal, with a quadratic form that is multiplied out.

    .. math:: (x - \mu)^\top \Sigma^{-1} (x - \mu) = x^\top \Sigma^{-1} x - 2 x^\top \Sigma^{-1} \mu
              + \mu^\top \Sigma^{-1} \mu

    The three terms may be large where their sum is small, even with the middle of all normals as origin:
    seven digits would not be enough.

    Args:
        x: (N, D), of float64.
        loc: (C, D).
        scale: what the covariance is made of: standard deviations (C, D), or lower triangular factors,
            (C, D, D) or one (1, D, D) for all.

    Returns:
        (N, C), in nats.

    Example:
        >>> x = torch.zeros(2, 3, dtype=torch.float64)
        >>> log_normals(x, x, torch.ones(2, 3, dtype=torch.float64))
        tensor([[-2.7568, -2.7568],
                [-2.7568, -2.7568]], dtype=torch.float64)
    """
    loc, scale = loc.to(x), scale.to(x)
    origin = loc.mean(0)
    x, loc = x - origin, loc - origin
    if scale.ndim == 2:
        precision = scale.square().reciprocal()
        quadratic = (
            x.square() @ precision.mT
            - 2.0 * (x @ (loc * precision).mT)
            + (loc.square() * precision).sum(-1)
        )
        log_det = scale.log().sum(-1)
    else:
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        white = torch.linalg.solve_triangular(scale, eye.expand_as(scale), upper=False)
        log_det = scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        if len(scale) == 1:
            whole, centres = x @ white[0].mT, loc @ white[0].mT
            quadratic = (
                whole.square().sum(-1, keepdim=True)
                - 2.0 * (whole @ centres.mT)
                + centres.square().sum(-1)
            )
        else:
            # One component after the other: what one needs stays in the cache.
            parts = zip(white, (white @ loc.unsqueeze(-1)).squeeze(-1), strict=True)
            rows = (x @ each.mT - centre for each, centre in parts)
            quadratic = torch.stack([torch.linalg.vecdot(row, row) for row in rows], -1)
    return -0.5 * (x.shape[-1] * math.log(2.0 * math.pi) + quadratic) - log_det
