"""Normal families: independent dimensions, or any covariance."""

from __future__ import annotations

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from pyrovae.families.base import Family, lower_triangle, positive_scale
from pyrovae.families.diagonal_normal import diagonal_normal


class Diagonal(Family):
    """Independent normals: loc and scale of each latent dimension."""

    @property
    def size(self) -> int:
        """2 L."""
        return 2 * self.latent

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """Normal(loc, scale), event shape (L,)."""
        loc, raw = parameters.split(self.latent, -1)
        return diagonal_normal(loc, positive_scale(raw))

    def transport(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """Loc + scale * noise."""
        loc, raw = parameters.split(self.latent, -1)
        return loc + positive_scale(raw) * noise


class FullCovariance(Family):
    """A multivariate normal: loc and the Cholesky factor of its covariance."""

    @property
    def size(self) -> int:
        """L + L (L + 1) / 2."""
        return self.latent + self.latent * (self.latent + 1) // 2

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """MultivariateNormal(loc, scale_tril), event shape (L,)."""
        loc, scale_tril = self._loc_and_factor(parameters)
        return dist.MultivariateNormal(loc, scale_tril=scale_tril)

    def transport(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """Loc + scale_tril @ noise."""
        loc, scale_tril = self._loc_and_factor(parameters)
        return loc + (scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def _loc_and_factor(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        lengths = [self.latent, self.latent, self.size - 2 * self.latent]
        loc, raw, below = parameters.split(lengths, -1)
        return loc, lower_triangle(positive_scale(raw), below)
