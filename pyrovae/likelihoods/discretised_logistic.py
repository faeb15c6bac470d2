"""The logistic distribution, with its probability collected into evenly spaced levels."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all
from torch.nn.functional import logsigmoid, softplus

from pyrovae.likelihoods.pixel_values import check_unit_interval, validated


class DiscretisedLogistic(TorchDistribution):
    """Levels from 0 to 1, each with the probability of a logistic distribution around it.

    Args:
        loc: where the logistic is.
        scale: how wide it is; above 0.
        levels: how many levels there are.

    Example:
        >>> levels = torch.linspace(0, 1, 5)
        >>> DiscretisedLogistic(torch.tensor(0.3), torch.tensor(0.1), 5).log_prob(levels).exp().sum()
        tensor(1.)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.unit_interval

    def __init__(
        self, loc: Tensor, scale: Tensor, levels: int, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretisedLogistic:
        """The same distribution for a larger batch."""
        shape = Size(batch_shape)
        return DiscretisedLogistic(self.loc.expand(shape), self.scale.expand(shape), self.levels)

    def _validate_sample(self, value: Tensor) -> None:
        validated(
            value,
            super()._validate_sample,
            lambda x: check_unit_interval(x, "a discretised logistic"),
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log of the probability of each level, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        half = 0.5 / (self.levels - 1)
        upper, lower = (
            (value + half - self.loc) / self.scale,
            (value - half - self.loc) / self.scale,
        )
        # log(F(b) - F(a)) for b > a, by F(b) - F(a) = F(b) F(-a) (1 - exp(a - b)).
        width = 2.0 * half / self.scale
        inside = logsigmoid(upper) - softplus(lower) + torch.log(-torch.expm1(-width))
        log_prob = torch.where(value < half, logsigmoid(upper), inside)
        return torch.where(value > 1.0 - half, -softplus(lower), log_prob)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw from the logistic, and go to the nearest level."""
        shape = self._extended_shape(Size(sample_shape))
        with torch.no_grad():
            uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
            # A draw of 0 stands for all below the next one, and not for minus infinity.
            uniform = uniform.clamp(min=0.5 * torch.finfo(uniform.dtype).eps)
            value = (self.loc + self.scale * uniform.logit()).clamp(0.0, 1.0)
            return (value * (self.levels - 1)).round() / (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """The mean over the levels, exact."""
        # The sum of P(x > edge) over the edges between levels, times their distance.
        edges = (
            torch.arange(self.levels - 1, dtype=self.loc.dtype, device=self.loc.device) + 0.5
        ) / (self.levels - 1)
        total = torch.zeros_like(self.loc)
        for edge in edges:
            total = total + ((self.loc - edge) / self.scale).sigmoid()
        return total / (self.levels - 1)
