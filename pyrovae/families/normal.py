"""Normal families: independent dimensions, or any covariance."""

from __future__ import annotations

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from pyrovae.families.base import Family, lower_triangle, positive


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
