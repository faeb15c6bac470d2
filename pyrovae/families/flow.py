"""A normalising flow whose parameters belong to a datapoint."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.distributions.transforms import LowerCholeskyAffine
from pyro.distributions.transforms.spline import ConditionedSpline
from torch import Tensor
from torch.distributions.transforms import Transform

from pyrovae.families.base import Family, lower_triangle, positive, positive_scale

BINS = 5
BOUND = 4.0
_LEAST_DERIVATIVE = 1e-3  # what the spline adds to each derivative it is given


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
        """A transformed normal, event shape (L,)."""
        origin = torch.zeros_like(parameters[..., : self.latent])
        base = dist.Normal(origin, torch.ones_like(origin)).to_event(1)
        return dist.TransformedDistribution(base, self._layers(parameters))

    def transport(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """Noise through all layers."""
        batch = torch.broadcast_shapes(noise.shape[:-1], parameters.shape[:-1])
        noise = noise.expand(*batch, self.latent)  # which Pyro's splines do not do by themselves
        for layer in self._layers(parameters):
            noise = layer(noise)
        return noise

    def _layers(self, parameters: Tensor) -> list[Transform]:
        first, mixing, second, loc, raw, below = parameters.split(self._lengths(), -1)
        return [
            self._spline(first),
            BatchAffine(torch.zeros_like(loc), lower_triangle(torch.ones_like(loc), mixing)),
            self._spline(second),
            BatchAffine(loc, lower_triangle(positive_scale(raw), below)),
        ]

    def _spline(self, raw: Tensor) -> ConditionedSpline:
        """(..., L (4 bins - 1)) -> an elementwise monotone spline; the identity at zero."""
        raw = raw.unflatten(-1, (self.latent, -1))
        widths, heights, slopes, lambdas = raw.split([BINS, BINS, BINS - 1, BINS], -1)
        slopes = positive(slopes) * (1.0 - _LEAST_DERIVATIVE)
        numbers = (widths.softmax(-1), heights.softmax(-1), slopes, lambdas.sigmoid())
        return ConditionedSpline(numbers, bound=BOUND)


class BatchAffine(LowerCholeskyAffine):
    """Pyro's triangular map with a matrix for every datapoint, of which Pyro's own takes one for all."""

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Log determinant of each matrix: batch shape."""
        log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_det.expand(x.shape[:-1])
