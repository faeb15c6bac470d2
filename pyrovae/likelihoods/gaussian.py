"""Normal likelihoods: a learned scale, a fixed one, or both within bounds; and Student's t."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.nn.functional import softplus

from pyrovae.densities.missing import mean_and_scale
from pyrovae.families import diagonal_normal, positive, positive_inverse
from pyrovae.likelihoods.base import Likelihood, check_positive


class Gaussian(Likelihood):
    r"""A mean and a scale of each dimension, both functions of z.

    .. math:: x_d \mid z \sim N(a_d, (\text{floor} + \text{softplus}(b_d))^2)

    Args:
        features: D.
        floor: the least scale, in units of x; without it a dimension that is constant has unbounded
            density.
    """

    def __init__(self, features: int, *, floor: float = 0.01) -> None:
        super().__init__(features)
        check_positive(floor=floor)
        self.floor = floor

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """Normal(loc, scale)."""
        loc, raw = parameters.split(self.features, -1)
        return diagonal_normal(loc, self.floor + positive(raw))

    def start(self, x: Tensor) -> Tensor:
        """Mean and spread of each dimension."""
        mean, scale = mean_and_scale(x)
        return torch.cat([mean, positive_inverse((scale - self.floor).clamp(min=self.floor))])


class FixedGaussian(Likelihood):
    r"""A mean of each dimension; the scale is one number that does not change.

    .. math:: x_d \mid z \sim N(a_d, \text{scale}^2)

    Up to a constant its negative log is the squared error divided by twice the squared scale.

    Args:
        features: D.
        scale: in units of x.
    """

    def __init__(self, features: int, *, scale: float = 0.1) -> None:
        super().__init__(features)
        check_positive(scale=scale)
        self.scale = scale

    @property
    def size(self) -> int:
        """D."""
        return self.features

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """Normal(loc, scale)."""
        return diagonal_normal(parameters, self.scale)

    def start(self, x: Tensor) -> Tensor:
        """Mean of each dimension."""
        return mean_and_scale(x)[0]


class BoundedGaussian(Likelihood):
    r"""A mean in (0, 1) and a variance in (1, e), in units of a fixed scale.

    .. math:: x_d \mid z \sim N(\sigma(a_d), \text{scale}^2 \exp \sigma(b_d)), \qquad
              \sigma(a) = 1 / (1 + e^{-a})

    Under a decoder without hidden layers, a = A z + c and b = B z + d, it is the simplest VAE.

    Args:
        features: D.
        scale: in units of x.
    """

    def __init__(self, features: int, *, scale: float = 1.0) -> None:
        super().__init__(features)
        check_positive(scale=scale)
        self.scale = scale

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """Normal(sigmoid(a), scale exp(sigmoid(b) / 2))."""
        raw_loc, raw_scale = parameters.split(self.features, -1)
        scale = self.scale * (0.5 * raw_scale.sigmoid()).exp()
        return diagonal_normal(raw_loc.sigmoid(), scale)

    def start(self, x: Tensor) -> Tensor:
        """Mean and spread of each dimension, as far as the bounds let them."""
        mean, scale = mean_and_scale(x)
        inner = 2.0 * (scale / self.scale).clamp(min=1e-6).log()
        return torch.cat([mean.clamp(0.01, 0.99).logit(), inner.clamp(0.01, 0.99).logit()])


class StudentT(Likelihood):
    r"""Student's t: a mean, a scale and degrees of freedom of each dimension, all functions of z.

    .. math:: x_d \mid z \sim t_{\nu_d}(a_d, s_d), \qquad s_d = \text{floor} + \text{softplus}(b_d),
              \qquad \nu_d = 3 + \text{softplus}(c_d)

    Args:
        features: D.
        floor: the least scale, in units of x.

    Source: MIWAE: deep generative modelling and imputation of incomplete data sets (Mattei & Frellsen,
    2019), whose floor and whose 3 these are: above 2 the variance is finite.
    """

    def __init__(self, features: int, *, floor: float = 1e-3) -> None:
        super().__init__(features)
        check_positive(floor=floor)
        self.floor = floor

    @property
    def size(self) -> int:
        """3 D."""
        return 3 * self.features

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """StudentT(df, loc, scale)."""
        loc, raw_scale, raw_df = parameters.split(self.features, -1)
        scale = self.floor + softplus(raw_scale)
        return HeavyTails(3.0 + softplus(raw_df), loc, scale).to_event(1)

    def start(self, x: Tensor) -> Tensor:
        """Mean and spread of each dimension, and few degrees of freedom."""
        mean, scale = mean_and_scale(x)
        inner = (scale - self.floor).clamp(min=self.floor)
        raw = inner + torch.log(-torch.expm1(-inner))
        return torch.cat([mean, raw, torch.zeros_like(mean)])


class HeavyTails(dist.StudentT):
    """A Student's t whose density keeps its digits where it is nearly a normal."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        tail = torch.log1p(((value - self.loc) / self.scale).square() / self.df)
        power = 0.5 * (self.df + 1.0)
        log_density: Tensor = -power * tail - _log_volume(0.5 * self.df) - self.scale.log()
        return log_density


def _log_volume(half: Tensor) -> Tensor:
    """log Gamma(n/2) - log Gamma((n+1)/2) + log(n pi) / 2 of n/2 above 1."""
    # Two log-gammas of many degrees of freedom have no digits left in their difference: Stirling's series
    # for it, eight further on, where the next term is below 1e-13.
    there = half + 8.0
    steps = torch.ones_like(half)
    for k in range(8):
        steps = steps * ((half + (k + 0.5)) / (half + k))
    inverse = there.reciprocal()
    square = inverse.square()
    series = 17.0 / 14336.0 - square * (31.0 / 18432.0)
    series = 1.0 / 8.0 - square * (1.0 / 192.0 - square * (1.0 / 640.0 - square * series))
    return (
        (steps * (half * inverse).sqrt()).log() + inverse * series + 0.5 * math.log(2.0 * math.pi)
    )
