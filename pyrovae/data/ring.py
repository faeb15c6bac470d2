"""A ring in the plane: a normal, bent by a map whose density is known."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Transform, constraints

from pyrovae.sources.dataset import DataSet, Rows
from pyrovae.sources.forms import Form
from pyrovae.sources.seeds import generator_from


class RingMap(Transform):
    r"""The map that pushes the plane out of the unit disc, and pulls it towards the circle.

    .. math:: g(z) = \frac{z}{10} + \frac{z}{\lVert z \rVert}, \qquad
              \left| \det \frac{\partial g}{\partial z} \right|
              = \frac{1}{10} \left( \frac{1}{10} + \frac{1}{\lVert z \rVert} \right)

    The length r becomes r / 10 + 1, the direction stays: so the inverse is known, and with it the density.

    Source: Tutorial on variational autoencoders (Doersch, 2016), its figure 2.

    Example:
        >>> g = RingMap()
        >>> z = torch.tensor([3.0, 4.0])
        >>> g(z)
        tensor([0.9000, 1.2000])
        >>> g.inv(g(z))
        tensor([3.0000, 4.0000])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return x / 10.0 + x / _length(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return y * (10.0 * (_length(y) - 1.0) / _length(y))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Log of the determinant above: (..., 2) -> (...,)."""
        return -math.log(10.0) + torch.log(0.1 + 1.0 / _length(x).squeeze(-1))


class Ring(DataSet):
    """Draws from the two-dimensional normal, bent into a ring of radius 1 by `RingMap`.

    Args:
        rows: to train on; a fifth as many to validate, and to test.
        split_seed: of the draws.

    Raises:
        ValueError: fewer than 5 rows.

    Source: Tutorial on variational autoencoders (Doersch, 2016), its figure 2.

    >>> ring = Ring(rows=100)
    >>> bool((ring.train.stored.norm(dim=1) > 1).all())
    True
    """

    def __init__(self, *, rows: int = 2000, split_seed: int = 0) -> None:
        if rows < 5:
            raise ValueError(f"rows is {rows}: at least 5 are needed")
        counts = (rows, rows // 5, rows // 5)
        generator = generator_from(split_seed, 0)
        x = RingMap()(torch.randn(sum(counts), 2, generator=generator))
        train, validation, test = (Rows(part) for part in x.split(counts))
        super().__init__(
            "ring", (2,), train, validation, test, form=Form("real"), split_seed=split_seed
        )

    @staticmethod
    def log_density(x: Tensor) -> Tensor:
        """The exact log p(x) of points (..., 2), by the change of variables: (...,), in nats.

        Minus infinity inside the unit circle.
        """
        length = _length(x).squeeze(-1)
        outside = length > 1.0
        ring = RingMap()
        # Any point outside, in place of one that has no z, so that no NaN arises.
        safe = torch.where(outside.unsqueeze(-1), x, torch.full_like(x, 2.0))
        z = ring.inv(safe)
        log_normal = -0.5 * z.square().sum(-1) - math.log(2.0 * math.pi)
        log_density = log_normal - ring.log_abs_det_jacobian(z, safe)
        return torch.where(outside, log_density, -math.inf)


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True)
