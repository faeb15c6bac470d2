"""The continuous Bernoulli in its log-odds, a density to the last digits wherever they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.likelihoods.pixel_values import check_unit_interval, validated

# log(sinh(a/2) / (a/2)) is the sum of B_2k a^2k / (2k (2k)!), B the Bernoulli numbers: by powers of a^2.
_SERIES = (
    1 / 24,
    -1 / 2880,
    1 / 181440,
    -1 / 9676800,
    1 / 479001600,
    -691 / 15692092416000,
    1 / 1046139494400,
)
_MEAN = tuple(2 * k * c for k, c in enumerate(_SERIES, 1))  # of its derivative, by a
_VARIANCE = tuple((2 * k - 1) * c for k, c in enumerate(_MEAN, 1))  # of its second derivative
_SMALL = 0.5  # below, seven terms leave nothing in double precision; above, nothing cancels
# Points and weights of integrals from -1 to 1.
_NODES, _WEIGHTS = (numbers.tolist() for numbers in np.polynomial.legendre.leggauss(6))


class ContinuousBernoulli(TorchDistribution):
    r"""The uniform density on [0, 1] tilted by exp(a x), in nats.

    .. math:: \log p(x) = \log \frac{a}{\tanh(a / 2)} + a x - \log(1 + e^a), \qquad
              E[x] = \frac{1}{1 - e^{-a}} - \frac1a

    Two things are avoided: the share sigmoid(a), which is 1 or 0 in floating point long before the density
    is a point, and differences of large numbers. Values, gradients and second derivatives are right at
    a = 0 and finite at any a.

    Args:
        logits: a, any real number.

    Example:
        >>> made = ContinuousBernoulli(torch.tensor([-100.0, 0.0, 100.0]))
        >>> made.mean
        tensor([0.0100, 0.5000, 0.9900])
        >>> made.log_prob(torch.tensor([0.0, 0.3, 1.0])).exp()
        tensor([100.0000, 1.0000, 100.0000])
    """

    arg_constraints = {"logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ContinuousBernoulli:
        """The same distribution for a larger batch."""
        new: ContinuousBernoulli = self._get_checked_instance(ContinuousBernoulli, _instance)
        new.logits = self.logits.expand(Size(batch_shape))
        super(ContinuousBernoulli, new).__init__(new.logits.shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _validate_sample(self, value: Tensor) -> None:
        validated(
            value,
            super()._validate_sample,
            lambda x: check_unit_interval(x, "a continuous Bernoulli"),
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        a = self.logits
        small, inner, size, share = self._parts()
        # Counted from the likelier end, where the log-density is log(|a| / (1 - e^-|a|)).
        end = (a > 0).to(a.dtype)
        square = inner.square()
        near = (end - 0.5) * inner - square * _polynomial(square, _SERIES)
        return a * (value - end) + torch.where(small, near, (size / (1.0 - share)).log())

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw, with a gradient by the logits."""
        shape = self._extended_shape(Size(sample_shape))
        a = self.logits
        return self.icdf(torch.rand(shape, dtype=a.dtype, device=a.device))

    def icdf(self, value: Tensor) -> Tensor:
        r"""The x below which there is a share u of the probability: log(1 + u (e^a - 1)) / a."""
        small, inner, size, share = self._parts()
        bright = self.logits > 0
        # It is the mean of sigmoid(logit(u) + a t) over t from 0 to 1, which divides by no a.
        near = torch.zeros_like(inner)
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            odds = (1.0 - value) * (-0.5 * (1.0 + node) * inner).exp()
            near = near + 0.5 * weight * value / (value + odds)
        # Elsewhere it is counted from the likelier end, since e^a overflows and e^-|a| does not.
        beyond = torch.where(bright, value, 1.0 - value)
        beyond = beyond + (1.0 - beyond) * share
        least = beyond < torch.finfo(beyond.dtype).tiny
        tail = -torch.where(least, 1.0, beyond).log() / size
        tail = torch.where(least, 1.0, tail)
        return torch.where(small, near, torch.where(bright, 1.0 - tail, tail)).clamp(0.0, 1.0)

    @property
    def mean(self) -> Tensor:
        """Between 0 and 1, and with all its digits near 0."""
        a = self.logits
        small, inner, size, share = self._parts()
        tail = 1.0 / size - share / (1.0 - share)
        near = 0.5 + inner * _polynomial(inner.square(), _MEAN)
        return torch.where(small, near, torch.where(a > 0, 1.0 - tail, tail))

    @property
    def variance(self) -> Tensor:
        """From 1/12, at a = 0, down to 1 / a^2."""
        small, inner, size, share = self._parts()
        outer = (1.0 / size).square() - share / (1.0 - share).square()
        return torch.where(small, _polynomial(inner.square(), _VARIANCE), outer)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Where a is small, the small a, |a| elsewhere, and e^-|a|."""
        a = self.logits
        size = a.abs()
        small = size < _SMALL
        # What is not chosen is made harmless: a gradient of 0 times infinity is no number.
        size = torch.where(small, 1.0, size)
        return small, torch.where(small, a, 0.0), size, (-size).exp()


def _polynomial(square: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """By Horner's rule; four terms are enough for single precision."""
    if square.dtype != torch.float64:
        coefficients = coefficients[:4]
    total = square * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        total = total * square + coefficient
    return total
