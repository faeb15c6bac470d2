"""Variational families: from a vector of numbers per datapoint to a distribution over z.

A guide says where the numbers come from (an encoder, a table), a family what they mean. In every family
the zero vector is the standard start: a standard normal, or the uniform category.
"""

from pyrovae.families.base import Family, lower_triangle, positive, positive_inverse
from pyrovae.families.categorical import Categorical
from pyrovae.families.diagonal_normal import DiagonalNormal, diagonal_normal
from pyrovae.families.flow import Flow
from pyrovae.families.normal import Diagonal, FullCovariance

__all__ = [
    "FAMILIES",
    "Categorical",
    "Diagonal",
    "DiagonalNormal",
    "Family",
    "Flow",
    "FullCovariance",
    "diagonal_normal",
    "lower_triangle",
    "make_family",
    "positive",
    "positive_inverse",
]

FAMILIES: dict[str, type[Family]] = {
    "diagonal": Diagonal,
    "full": FullCovariance,
    "flow": Flow,
    "categorical": Categorical,
}


def make_family(name: str, latent: int) -> Family:
    """Return the family of this name.

    Raises:
        ValueError: there is none of this name, or ``latent`` is below 1.

    Example:
        >>> import torch
        >>> make_family("full", 3).size
        9
        >>> make_family("diagonal", 2).distribution(torch.zeros(5, 4)).batch_shape
        torch.Size([5])
    """
    if name not in FAMILIES:
        raise ValueError(f"family is {name!r}: the known ones are {', '.join(FAMILIES)}")
    return FAMILIES[name](latent)
