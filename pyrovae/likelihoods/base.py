"""What all likelihoods share: numbers from a decoder in, a distribution over x out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Real

from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from pyrovae.densities.missing import any_missing
from pyrovae.registry.plain import whole_number


class Likelihood(ABC):
    """p(x | z) of independent dimensions, given ``size`` numbers that a decoder computes from z.

    Args:
        features: D, observed dimensions.
    """

    def __init__(self, features: int) -> None:
        self.features = whole_number("features", features, least=1)

    @property
    def size(self) -> int:
        """How many numbers describe one p(x | z)."""
        return 2 * self.features

    @abstractmethod
    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """(..., size) -> a distribution of event shape (D,)."""

    @abstractmethod
    def start(self, x: Tensor) -> Tensor:
        """The parameters (size,) that put the distribution where the data ``x`` (N, D) are."""

    def check(self, x: Tensor) -> None:
        """Refuse data that cannot be scored: NaN is missing, and always can.

        Raises:
            ValueError: says which values, and what to do.
        """
        del x


def present_values(x: Tensor) -> Tensor:
    """The values of ``x`` that are not missing, in one dimension."""
    return x[~x.isnan()] if any_missing(x) else x.reshape(-1)


def check_positive(**options: float) -> None:
    """Refuse an option that is no number above 0.

    Raises:
        ValueError: names it.
    """
    for name, value in options.items():
        if not isinstance(value, Real) or not value > 0:
            raise ValueError(f"{name} is {value!r}: it must be above 0")
