"""A guide whose parameters an encoder network computes from x."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
from pyro.nn import PyroModule
from torch import Tensor

from pyrovae.families import make_family
from pyrovae.networks import MLP
from pyrovae.programs import data_plate


class Amortized(PyroModule):
    r"""A guide whose parameters an encoder network computes from x.

    .. math:: q(z \mid x) = \text{family}(z;\, \text{encoder}(x))

    Args:
        features: D, observed dimensions.
        latent: L, latent dimensions (for ``"categorical"``, the number of categories).
        hidden: sizes of the encoder's hidden layers, from x to z.
        activation: what follows each hidden layer.
        family: ``"diagonal"``, ``"full"``, ``"flow"`` or another of `pyrovae.families.FAMILIES`.

    Raises:
        ValueError: an unknown family or activation, or a size below 1.

    Source: Auto-encoding variational Bayes (Kingma & Welling, 2014).

    How to read it: one network for all datapoints, new ones included; what it loses against the best
    distribution of its family for each datapoint is the amortization gap.

    Example:
        >>> import torch
        >>> guide = Amortized(features=64, latent=2)
        >>> guide(torch.zeros(3, 64)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        features: int,
        latent: int,
        *,
        hidden: Sequence[int] = (200, 200),
        activation: str = "relu",
        family: str = "diagonal",
    ) -> None:
        super().__init__()
        self.features = features
        self.latent = latent
        self.family_name = family
        self.family = make_family(family, latent)
        self.encoder = MLP(features, self.family.size, hidden=hidden, activation=activation)

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z for each row of ``x``: (..., B, L), or (..., B) for a category."""
        with data_plate(len(x), index, size):
            z: Tensor = pyro.sample("z", self.family.distribution(self.local_parameters(x)))
        return z

    def local_parameters(self, x: Tensor) -> Tensor:
        """What the family is given for each row of ``x``: (B, size)."""
        parameters: Tensor = self.encoder(x)
        return parameters
