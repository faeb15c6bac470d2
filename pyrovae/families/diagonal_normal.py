"""Independent normals of one event dimension, whose density takes fewer passes over memory."""

from __future__ import annotations

import math

import pyro.distributions as dist
from torch import Tensor


class DiagonalNormal(dist.Independent):
    """``Normal(loc, scale).to_event(1)`` whose density sums squares and logarithms, each once.

    The general one makes every dimension's log-density before it adds them up; an estimator of log p(x)
    spends a good part of its time there.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Batch shape, in nats."""
        base = self.base_dist
        if base._validate_args:
            base._validate_sample(value)
        squares = ((value - base.loc) / base.scale).square().sum(-1)
        log_volume = base.scale.log().sum(-1) + 0.5 * base.loc.shape[-1] * math.log(2.0 * math.pi)
        log_density: Tensor = -0.5 * squares - log_volume
        return log_density


def diagonal_normal(loc: Tensor, scale: Tensor | float) -> DiagonalNormal:
    """Independent normals over the last dimension.

    Example:
        >>> import torch
        >>> diagonal_normal(torch.zeros(3, 2), 1.0).log_prob(torch.zeros(3, 2)).exp()
        tensor([0.1592, 0.1592, 0.1592])
    """
    return DiagonalNormal(dist.Normal(loc, scale), 1)
