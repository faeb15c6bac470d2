"""Variational families: from a vector of numbers per datapoint to a distribution over z.

A guide says where the numbers come from (an encoder, a table), a family what they mean. In every family
the zero vector is the standard start: a standard normal, or the uniform category.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.nn.functional import softplus

_SOFTPLUS_OF_ONE = math.log(math.e - 1.0)  # softplus of this is 1


def positive(raw: Tensor) -> Tensor:
    """Map any number to a positive one, zero to one: softplus, shifted; grows linearly."""
    return softplus(raw + _SOFTPLUS_OF_ONE)


class Family(ABC):
    """A family of distributions over ``latent`` dimensions, with ``size`` numbers per datapoint."""

    def __init__(self, latent: int) -> None:
        if latent < 1:
            raise ValueError(f"latent is {latent}: at least one latent dimension is needed")
        self.latent = latent

    @property
    @abstractmethod
    def size(self) -> int:
        """How many numbers describe one datapoint's distribution."""

    @abstractmethod
    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """(..., size) -> a distribution of batch shape (...)."""


class Diagonal(Family):
    """Independent normals: loc and scale of each latent dimension."""

    @property
    def size(self) -> int:
        """2 L."""
        return 2 * self.latent

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """Normal(loc, scale), event shape (L,)."""
        loc, raw = parameters.split(self.latent, -1)
        return dist.Normal(loc, positive(raw)).to_event(1)


class FullCovariance(Family):
    """A multivariate normal: loc and the Cholesky factor of its covariance."""

    @property
    def size(self) -> int:
        """L + L (L + 1) / 2."""
        return self.latent + self.latent * (self.latent + 1) // 2

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """MultivariateNormal(loc, scale_tril), event shape (L,)."""
        loc, raw, below = parameters.split(
            [self.latent, self.latent, self.size - 2 * self.latent], -1
        )
        return dist.MultivariateNormal(loc, scale_tril=lower_triangle(positive(raw), below))


class Categorical(Family):
    """One of ``latent`` categories: its logits."""

    @property
    def size(self) -> int:
        """L."""
        return self.latent

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """Categorical(logits), event shape ()."""
        return dist.Categorical(logits=parameters)


FAMILIES: dict[str, type[Family]] = {
    "diagonal": Diagonal,
    "full": FullCovariance,
    "categorical": Categorical,
}


def make_family(name: str, latent: int) -> Family:
    """Return the family of this name.

    Example:
        >>> make_family("full", 3).size
        9
        >>> make_family("diagonal", 2).distribution(torch.zeros(5, 4)).batch_shape
        torch.Size([5])
    """
    if name not in FAMILIES:
        raise ValueError(f"family is {name!r}: the known ones are {', '.join(FAMILIES)}")
    return FAMILIES[name](latent)


def lower_triangle(diagonal: Tensor, below: Tensor) -> Tensor:
    """Lower-triangular matrices from their diagonal (..., L) and what lies below it, row by row."""
    rows, columns = torch.tril_indices(diagonal.shape[-1], diagonal.shape[-1], -1)
    matrix = torch.diag_embed(diagonal)
    lower = torch.zeros_like(matrix)
    lower[..., rows, columns] = below
    return matrix + lower
