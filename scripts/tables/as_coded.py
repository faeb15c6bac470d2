"""Ways of the code of Burda et al. 2016, which Li & Turner 2016 built on, that the texts leave out.

A configuration names these parts by their paths, such as ``as_coded.Adam``. Images are taken in the order
of the file in every pass (``shuffle: false``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

import pyrovae.guides
import pyrovae.models


class VAE(pyrovae.models.VAE):
    """The VAE of these papers for binary pixels, with the initial weights of `equal_layers`."""

    def __init__(self, features: int, *, latent: int, hidden: Sequence[int]) -> None:
        super().__init__(
            features, latent=latent, hidden=hidden, activation="tanh", likelihood="bernoulli"
        )
        equal_layers(self)


class Amortized(pyrovae.guides.Amortized):
    """Its encoder, in which location and log-scale begin as the same function of an image."""

    def __init__(self, features: int, latent: int, *, hidden: Sequence[int]) -> None:
        super().__init__(features, latent, hidden=hidden, activation="tanh")
        equal_layers(self)


@torch.no_grad()
def equal_layers(program: nn.Module) -> None:
    """Draw the weights of every layer from the same seed, 123: layers of one shape begin alike.

    The last layer of an encoder is two such layers, of location and of log-scale.
    """
    layers = [layer for layer in program.modules() if isinstance(layer, nn.Linear)]
    for layer in layers:
        heads = 2 if isinstance(program, Amortized) and layer is layers[-1] else 1
        inputs, outputs = layer.in_features, layer.out_features // heads
        bound = (6 / (inputs + outputs)) ** 0.5  # of Glorot & Bengio 2010
        drawn = np.random.RandomState(123).uniform(-bound, bound, (inputs, outputs))
        layer.weight.copy_(torch.from_numpy(drawn.T.copy()).repeat(heads, 1))


class Adam(torch.optim.Adam):
    """Adam with beta1 = 0.99, epsilon 1e-4, and averages of squares that begin at 1, not at 0.

    Epsilon and the 1 are for a gradient that is the sum over a batch.

    Args:
        params: to train.
        lr: the learning rate.
        larger: by how much a gradient here is larger than the sum over a batch: N / B in a fit.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, larger: float = 1.0) -> None:
        super().__init__(params, lr=lr, betas=(0.99, 0.999), eps=1e-4 * larger)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.full_like(parameter, larger**2),
                }
