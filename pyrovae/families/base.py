"""What all families share: numbers of one datapoint in, a distribution over its z out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.nn.functional import softplus

from pyrovae.registry.plain import whole_number

_SOFTPLUS_OF_ONE = math.log(math.e - 1.0)  # softplus of this is 1


def positive(raw: Tensor) -> Tensor:
    """Map any number to a positive one, zero to one: softplus, shifted; grows linearly."""
    return softplus(raw + _SOFTPLUS_OF_ONE)


def positive_scale(raw: Tensor) -> Tensor:
    """`positive`, and above 0 even where softplus is not, as for rows far from all that were trained on.

    Example:
        >>> bool(positive_scale(torch.tensor(-1e4)) > 0)
        True
    """
    return positive(raw) + torch.finfo(raw.dtype).tiny


def positive_inverse(value: Tensor) -> Tensor:
    """Map a positive number back to the one that `positive` makes it from.

    Example:
        >>> positive_inverse(torch.ones(()))
        tensor(0.)
    """
    # log(expm1(value)), written so that neither a small nor a large value loses digits.
    return value + torch.log(-torch.expm1(-value)) - _SOFTPLUS_OF_ONE


class Family(ABC):
    """A family of distributions over ``latent`` dimensions, with ``size`` numbers per datapoint.

    Raises:
        ValueError: ``latent`` is below 1.
    """

    def __init__(self, latent: int) -> None:
        self.latent = whole_number("latent", latent, least=1)

    @property
    @abstractmethod
    def size(self) -> int:
        """How many numbers describe one datapoint's distribution."""

    @abstractmethod
    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """(..., size) -> a distribution of batch shape (...)."""

    def transport(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """Standard normal ``noise`` (..., L) -> draws of the distribution, (..., L).

        Raises:
            TypeError: the family's draws are no smooth function of noise.
        """
        raise TypeError(
            f"the draws of the family {type(self).__name__} carry no gradient: use a continuous family"
        )


def lower_triangle(diagonal: Tensor, below: Tensor) -> Tensor:
    """Lower-triangular matrices from their diagonal (..., L) and what lies below it, row by row.

    Example:
        >>> lower_triangle(torch.ones(2), torch.tensor([5.0]))
        tensor([[1., 0.],
                [5., 1.]])
    """
    rows, columns = torch.tril_indices(diagonal.shape[-1], diagonal.shape[-1], -1)
    matrix = torch.diag_embed(diagonal)
    lower = torch.zeros_like(matrix)
    lower[..., rows, columns] = below
    return matrix + lower
