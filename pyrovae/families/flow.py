"""A normalising flow whose parameters belong to a datapoint."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.families.base import Family, lower_triangle, positive_scale
from pyrovae.families.spline import BINS, Spline


class Flow(Family):
    r"""A normal bent by two elementwise splines, each followed by a triangular map.

    .. math:: z = A_2 \, s_2(A_1 \, s_1(\varepsilon)) + \mu, \qquad \varepsilon \sim N(0, I_L)

    With straight splines it is the full-covariance normal. Every layer has an analytic inverse, so the
    density is known at any z, not only at the flow's own draws. Outside [-4, 4] a spline is the identity.

    Source: Neural spline flows (Durkan, Bekasov, Murray & Papamakarios, 2019); Invertible generative
    modeling using linear rational splines (Dolatabadi, Erfani & Leckie, 2020).
    """

    @property
    def size(self) -> int:
        """2 L (4 bins - 1) + L (L - 1) + 2 L."""
        return sum(self._lengths())

    def _lengths(self) -> tuple[int, ...]:
        spline, below = self.latent * (4 * BINS - 1), self.latent * (self.latent - 1) // 2
        return spline, below, spline, self.latent, self.latent, below

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """A bent normal, event shape (L,)."""
        return BentNormal(self._bend(parameters), parameters[..., : self.latent])

    def transport(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """Noise through all layers."""
        return self._bend(parameters)(noise)

    def _bend(self, parameters: Tensor) -> Bend:
        # In double precision: where a layer is steep, the last digits of z decide about nats.
        first, mixing, second, loc, raw, below = parameters.double().split(self._lengths(), -1)
        return Bend(
            Spline(first.unflatten(-1, (self.latent, -1))),
            lower_triangle(torch.ones_like(loc), mixing),
            Spline(second.unflatten(-1, (self.latent, -1))),
            lower_triangle(positive_scale(raw), below),
            loc,
        )


class Bend(NamedTuple):
    """The layers of a `Flow`, in their order."""

    first: Spline
    mixing: Tensor
    second: Spline
    scale_tril: Tensor
    loc: Tensor

    def __call__(self, noise: Tensor) -> Tensor:
        """Noise (..., L) to z (..., L)."""
        z = self.second(_times(self.mixing, self.first(noise.double())))
        return (_times(self.scale_tril, z) + self.loc).to(noise.dtype)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of any ``z`` (..., L): (...)."""
        noise, second = self.second.inverse(_solved(self.scale_tril, z.double() - self.loc))
        noise, first = self.first.inverse(_solved(self.mixing, noise))
        log_slopes = first + second + self.scale_tril.diagonal(dim1=-2, dim2=-1).log()
        log_noise = -0.5 * (noise.square() + math.log(2.0 * math.pi))
        return (log_noise - log_slopes).sum(-1).to(z.dtype)


def _times(triangle: Tensor, z: Tensor) -> Tensor:
    return (triangle @ z.unsqueeze(-1)).squeeze(-1)


def _solved(triangle: Tensor, z: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(triangle, z.unsqueeze(-1), upper=False).squeeze(-1)


class BentNormal(TorchDistribution):
    """A standard normal after a ``bend``, of the shape and dtype of ``like`` (..., L): event shape (L,)."""

    arg_constraints: dict[str, Any] = {}
    support = constraints.independent(constraints.real, 1)
    has_rsample = True

    def __init__(self, bend: Bend, like: Tensor, validate_args: bool | None = None) -> None:
        self.bend = bend
        self.like = like
        super().__init__(like.shape[:-1], like.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> BentNormal:
        """The same distribution for a larger batch, whose layers are made once."""
        return BentNormal(self.bend, self.like.expand(*batch_shape, -1), self._validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Noise through all layers."""
        shape = self._extended_shape(Size(sample_shape))
        return self.bend(torch.randn(shape, dtype=self.like.dtype, device=self.like.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density at any value, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return self.bend.log_prob(value)
