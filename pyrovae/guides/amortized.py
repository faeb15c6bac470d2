"""A guide whose parameters an encoder network computes from x."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor

from pyrovae.densities.missing import shown
from pyrovae.families import make_family
from pyrovae.networks.architectures import Architecture, make_encoder
from pyrovae.programs import data_plate
from pyrovae.registry.plain import whole_numbers


class Amortized(PyroModule):
    r"""A guide whose parameters an encoder network computes from x.

    .. math:: q(z \mid x) = \text{family}(z;\, \text{encoder}(x))

    ``NaN`` in x is missing: the encoder is shown 0 in its place.

    Args:
        features: D, observed dimensions.
        latent: L, latent dimensions (for ``"categorical"``, the number of categories).
        hidden: sizes of the encoder's hidden layers, from x to z; for convolutions, their channels.
        activation: what follows each hidden layer.
        family: ``"diagonal"``, ``"full"``, ``"flow"`` or another of `pyrovae.families.FAMILIES`.
        network: ``"mlp"`` or ``"convolutional"``.
        shape: height and width of the image, for convolutions; a square if not given.
        show_missing: whether the encoder is told, by D more inputs, which values are missing.
        dropout: share of each hidden layer's outputs that is set to 0 in training, for an MLP: where rows
            are few, an encoder that learns them by heart loses on others.

    Raises:
        ValueError: an unknown family, activation or network, a size below 1, or a share that is none.
        TypeError: an option that the network has not.

    Source: Auto-encoding variational Bayes (Kingma & Welling, 2014); for missing values, MIWAE: deep
    generative modelling and imputation of incomplete data sets (Mattei & Frellsen, 2019).

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
        network: Architecture = "mlp",
        shape: Sequence[int] | None = None,
        show_missing: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        whole_numbers(features=features, latent=latent)
        self.features = features
        self.latent = latent
        self.family_name = family
        self.family = make_family(family, latent)
        self.show_missing = show_missing
        self.encoder = make_encoder(
            features,
            self.family.size,
            hidden=hidden,
            activation=activation,
            network=network,
            shape=shape,
            planes=2 if show_missing else 1,
            dropout=dropout,
        )

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z for each row of ``x``: (..., B, L), or (..., B) for a category."""
        with data_plate(len(x), index, size):
            z: Tensor = pyro.sample("z", self.family.distribution(self.local_parameters(x)))
        return z

    def local_parameters(self, x: Tensor) -> Tensor:
        """What the family is given for each row of ``x``: (B, size)."""
        seen = shown(x, self.encoder)
        if self.show_missing:
            seen = torch.cat([seen, x.isnan().to(seen.dtype)], -1)
        parameters: Tensor = self.encoder(seen)
        return parameters
