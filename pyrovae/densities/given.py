"""A distribution over some columns, beside columns that are given."""

from __future__ import annotations

from typing import Any

from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints


class Given(TorchDistribution):
    """A distribution over some columns of a row, whose other columns are given and are not scored.

    Args:
        base: over the free columns, event shape (D - C,).
        values: (..., C), what is given.
        free: (D - C,), numbers of the columns of ``base``.
        given: (C,), numbers of the columns of ``values``.

    Example:
        >>> import torch
        >>> import pyro.distributions as dist
        >>> base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        >>> rows = Given(base, torch.tensor([7.0]), torch.tensor([0, 2]), torch.tensor([1]))
        >>> rows.mean
        tensor([0., 7., 0.])
    """

    arg_constraints: dict[str, Any] = {}
    support = constraints.independent(constraints.real, 1)

    def __init__(self, base: Any, values: Tensor, free: Tensor, given: Tensor) -> None:
        self.base = base
        self.values = values
        self.free = free
        self.given = given
        super().__init__(base.batch_shape, Size([len(free) + len(given)]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Given:
        """The same distribution for a larger batch."""
        return Given(self.base.expand(batch_shape), self.values, self.free, self.given)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of the free columns, in nats."""
        result: Tensor = self.base.log_prob(value[..., self.free])
        return result

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw the free columns, and put the given ones beside them."""
        return self._together(self.base.sample(Size(sample_shape)))

    @property
    def mean(self) -> Tensor:
        """The mean of the free columns beside the given ones."""
        return self._together(self.base.mean)

    def _together(self, rest: Tensor) -> Tensor:
        rows = rest.new_empty(*rest.shape[:-1], self.event_shape[0])
        rows[..., self.free] = rest
        rows[..., self.given] = self.values.to(rest).expand(*rest.shape[:-1], -1)
        return rows
