"""A guide for two layers of latent variables, from the data up."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
from pyro.nn import PyroModule
from torch import Tensor

from pyrovae.densities.missing import shown
from pyrovae.families import make_family
from pyrovae.networks.mlp import MLP
from pyrovae.programs import Program, data_plate


class Hierarchical(PyroModule):
    r"""A guide for two layers of latent variables, from the data up.

    .. math:: q(z_1, z_2 \mid x) = \text{family}(z_1;\, \text{encoder}(x)) \;
              \text{family}(z_2;\, \text{upper}(z_1))

    ``NaN`` in x is missing: the encoder is shown 0 in its place.

    Args:
        features: D, observed dimensions.
        model: a model with sites ``"z1"`` and ``"z2"`` of sizes ``lower`` and ``latent``, such as
            `pyrovae.models.HierarchicalVAE`.
        hidden: sizes of the hidden layers from x to z1.
        upper_hidden: sizes of the hidden layers from z1 to z2.
        activation: what follows each hidden layer.
        family: ``"diagonal"``, ``"full"``, ``"flow"`` or another of `pyrovae.families.FAMILIES`.

    Raises:
        ValueError: an unknown family or activation, or a size below 1.
        TypeError: a model without two layers.

    Source: Importance weighted autoencoders (Burda, Grosse & Salakhutdinov, 2016), the model with two
    stochastic layers, whose sizes are the defaults.

    How to read it: z2 is drawn from z1 alone, as in the model's own posterior.

    Example:
        >>> import torch
        >>> from pyrovae.models import HierarchicalVAE
        >>> guide = Hierarchical(64, HierarchicalVAE(64, latent=2, lower=4))
        >>> guide(torch.zeros(3, 64)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        features: int,
        model: Program,
        *,
        hidden: Sequence[int] = (200, 200),
        upper_hidden: Sequence[int] = (100, 100),
        activation: str = "tanh",
        family: str = "diagonal",
    ) -> None:
        super().__init__()
        sizes = [getattr(model, name, None) for name in ("lower", "latent")]
        if not all(isinstance(size, int) for size in sizes):
            raise TypeError(
                "guides.Hierarchical needs a model of two layers with the attributes `lower` and `latent`, "
                f"such as HierarchicalVAE, but got {type(model).__name__}: use guides.Amortized"
            )
        lower, upper = sizes
        self.features = features
        self.latent: int = upper  # type: ignore[assignment]
        self.lower_family = make_family(family, lower)  # type: ignore[arg-type]
        self.upper_family = make_family(family, self.latent)
        self.encoder = MLP(features, self.lower_family.size, hidden=hidden, activation=activation)
        self.upper_encoder = MLP(
            lower,  # type: ignore[arg-type]
            self.upper_family.size,
            hidden=upper_hidden,
            activation=activation,
        )

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z1 and z2 for each row of ``x``; returns z2, (..., B, L)."""
        parameters = self.encoder(shown(x, self.encoder))
        with data_plate(len(x), index, size):
            z1: Tensor = pyro.sample("z1", self.lower_family.distribution(parameters))
            z2: Tensor = pyro.sample("z2", self.upper_family.distribution(self.upper_encoder(z1)))
        return z2
