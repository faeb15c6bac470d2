"""The family of all categories."""

from __future__ import annotations

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from pyrovae.families.base import Family


class Categorical(Family):
    """One of ``latent`` categories: its logits."""

    @property
    def size(self) -> int:
        """L."""
        return self.latent

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """Categorical(logits), event shape ()."""
        return dist.Categorical(logits=parameters)
