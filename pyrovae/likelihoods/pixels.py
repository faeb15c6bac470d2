"""Likelihoods of pixels: binary ones, grey ones on [0, 1], and grey levels."""

from __future__ import annotations

import math
from typing import SupportsIndex

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from pyrovae.densities.missing import mean_and_scale
from pyrovae.families import positive, positive_inverse
from pyrovae.likelihoods import continuous_bernoulli
from pyrovae.likelihoods.base import Likelihood, check_positive, present_values
from pyrovae.likelihoods.discretised_logistic import DiscretisedLogistic
from pyrovae.likelihoods.pixel_values import check_binary, check_unit_interval, validated


class Bernoulli(Likelihood):
    r"""The probability that a binary pixel is 1.

    .. math:: x_d \mid z \sim \text{Bernoulli}(\sigma(a_d))
    """

    @property
    def size(self) -> int:
        """D."""
        return self.features

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """Bernoulli(logits)."""
        return BinaryPixels(logits=parameters).to_event(1)

    def start(self, x: Tensor) -> Tensor:
        """Log-odds of each pixel's mean, clipped to [0.001, 0.999]."""
        return mean_and_scale(x)[0].clamp(0.001, 0.999).logit()

    def check(self, x: Tensor) -> None:
        """Refuse values other than 0 and 1."""
        check_binary(x)


class BinaryPixels(dist.Bernoulli):
    """A Bernoulli that refuses grey values in a sentence."""

    def _validate_sample(self, value: Tensor) -> None:
        validated(value, super()._validate_sample, check_binary)


class ContinuousBernoulli(Likelihood):
    r"""A density on [0, 1] with the shape of a Bernoulli, and the constant that makes it one.

    .. math:: p(x_d \mid z) = C(\lambda_d) \, \lambda_d^{x_d} (1 - \lambda_d)^{1 - x_d}, \qquad
              \lambda_d = \sigma(a_d)

    The density has no bound: a pixel that is 0 in all rows has more of it the further a falls.

    Source: The continuous Bernoulli: fixing a pervasive error in variational autoencoders
    (Loaiza-Ganem & Cunningham, 2019).
    """

    @property
    def size(self) -> int:
        """D."""
        return self.features

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """ContinuousBernoulli(logits)."""
        return continuous_bernoulli.ContinuousBernoulli(parameters).to_event(1)

    def start(self, x: Tensor) -> Tensor:
        """The log-odds whose mean is each pixel's, clipped to [0.01, 0.99]: they are -100 to 100."""
        mean = mean_and_scale(x)[0].clamp(0.01, 0.99)
        # By bisection on the darker side, where a mean near 0 has all its digits, and one near 1 not.
        dark = torch.minimum(mean, 1.0 - mean)
        low, high = torch.full_like(mean, -128.0), torch.zeros_like(mean)
        for _ in range(60):
            middle = 0.5 * (low + high)
            above = continuous_bernoulli.ContinuousBernoulli(middle).mean > dark
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        logits = 0.5 * (low + high)
        return torch.where(mean > 0.5, -logits, logits)

    def check(self, x: Tensor) -> None:
        """Refuse values outside [0, 1]."""
        check_unit_interval(x, "a continuous Bernoulli")


class GreyLevels(Likelihood):
    r"""A logistic distribution whose probability is collected into grey levels.

    .. math:: P(x_d \mid z) = F\!\left(\frac{x_d + w/2 - a_d}{s_d}\right)
              - F\!\left(\frac{x_d - w/2 - a_d}{s_d}\right), \qquad F(t) = \frac{1}{1 + e^{-t}},
              \quad w = \frac{1}{\text{levels} - 1}

    The darkest and the lightest level get all that lies beyond them, so that it is a probability.

    Args:
        features: D.
        levels: how many grey levels there are, evenly spaced from 0 to 1.
        floor: the least scale s, in units of x.

    Source: Improving variational inference with inverse autoregressive flow (Kingma, Salimans,
    Jozefowicz, Chen, Sutskever & Welling, 2016).
    """

    def __init__(self, features: int, *, levels: int = 256, floor: float = 1e-3) -> None:
        super().__init__(features)
        check_positive(floor=floor)
        if not isinstance(levels, SupportsIndex) or levels < 2:
            raise ValueError(
                f"levels is {levels!r}: it must be a whole number, of at least 2 grey levels"
            )
        self.levels = int(levels)
        self.floor = floor

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """DiscretisedLogistic(loc, scale)."""
        loc, raw = parameters.split(self.features, -1)
        scale = self.floor + 0.1 * positive(raw)
        return DiscretisedLogistic(loc, scale, self.levels).to_event(1)

    def start(self, x: Tensor) -> Tensor:
        """Mean and spread of each pixel: a logistic's spread is pi / sqrt(3) times its scale."""
        mean, spread = mean_and_scale(x)
        scale = spread * math.sqrt(3.0) / math.pi
        return torch.cat([mean, positive_inverse(10.0 * (scale - self.floor).clamp(min=0.01))])

    def check(self, x: Tensor) -> None:
        """Refuse values that are none of the grey levels."""
        check_unit_interval(x, "a discretised logistic")
        steps = present_values(x) * (self.levels - 1)
        if ((steps - steps.round()).abs() > 1e-3).any():
            raise ValueError(
                f"the data have values between the {self.levels} grey levels, which a discretised logistic "
                "cannot score: use the form 'grey', and the number of its levels"
            )
