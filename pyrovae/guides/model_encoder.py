"""The encoder that a model brings along."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import pyro
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor

from pyrovae.programs import Program, data_plate


@runtime_checkable
class EncodingModel(Protocol):
    """A model with an encoder of its own."""

    latent: int

    def encode(self, x: Tensor) -> TorchDistribution:
        """q(z | x) for each row of ``x``."""
        ...


class ModelEncoder(PyroModule):
    r"""The encoder that a model brings along, since its prior is made of it.

    .. math:: q(z \mid x) = \text{model.encode}(x)

    Its parameters are the model's: this guide has none of its own.

    Args:
        model: a model with a method ``encode(x)``, such as `pyrovae.models.VampPriorVAE`.

    Raises:
        TypeError: the model has no encoder.

    Source: VAE with a VampPrior (Tomczak & Welling, 2018).

    How to read it: as `pyrovae.guides.Amortized`, for a model whose prior moves with the encoder.

    Example:
        >>> import torch
        >>> from pyrovae.models import VampPriorVAE
        >>> ModelEncoder(VampPriorVAE(64, latent=2))(torch.zeros(3, 64)).shape
        torch.Size([3, 2])
    """

    def __init__(self, model: Program) -> None:
        super().__init__()
        if not isinstance(model, EncodingModel):
            raise TypeError(
                "guides.ModelEncoder needs a model with an encoder of its own, such as VampPriorVAE, but got "
                f"{type(model).__name__}: use guides.Amortized"
            )
        # In a tuple, so that the model's parameters are not registered as the guide's a second time.
        self._model: tuple[EncodingModel] = (model,)

    @property
    def latent(self) -> int:
        """L."""
        return self._model[0].latent

    @property
    def features(self) -> int:
        """D, if the model says it."""
        features: int = self._model[0].features  # type: ignore[attr-defined]
        return features

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z for each row of ``x``: (..., B, L)."""
        posterior = self._model[0].encode(x)
        with data_plate(len(x), index, size):
            z: Tensor = pyro.sample("z", posterior)
        return z
