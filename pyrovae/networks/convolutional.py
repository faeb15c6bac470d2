"""Convolutional encoders and decoders of images, for any number of leading dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pyrovae.networks.mlp import ACTIVATIONS, check_width, layer_sizes


class ConvolutionalEncoder(nn.Module):
    """Convolutions that halve the image, and a linear layer at the end.

    Args:
        shape: height and width of the image, and planes: (H, W) or (planes, H, W).
        outputs: size of the last dimension of what comes out.
        channels: of each convolution, from the image on; each halves height and width.
        activation: what follows each convolution.

    Example:
        >>> ConvolutionalEncoder((28, 28), 5, channels=(8, 16))(torch.zeros(3, 2, 784)).shape
        torch.Size([3, 2, 5])
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        *,
        channels: Sequence[int] = (32, 64),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        planes, height, width = (1, *shape) if len(shape) == 2 else shape
        self.shape = (planes, height, width)
        channels = layer_sizes(channels)
        layers: list[nn.Module] = []
        for before, after in pairwise((planes, *channels)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), ACTIVATIONS[activation]()]
            height, width = -(-height // 2), -(-width // 2)
        self.convolutions = nn.Sequential(*layers)
        self.last = nn.Linear((channels[-1] if channels else planes) * height * width, outputs)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(..., planes H W) -> (..., outputs)."""
        check_width(x, math.prod(self.shape))
        maps = self.convolutions(x.reshape(-1, *self.shape))
        result: Tensor = self.last(maps.flatten(1))
        return result.unflatten(0, x.shape[:-1])

    @property
    def output_bias(self) -> Tensor:
        """What is added to the output at the very end, (outputs,)."""
        return self.last.bias


class ConvolutionalDecoder(nn.Module):
    """A linear layer to a small image, and convolutions that double it.

    Args:
        inputs: size of the last dimension of what comes in.
        shape: height and width of the image, (H, W).
        planes: numbers for each pixel; the output has those of the first plane first.
        channels: of each convolution, from the small image on; before each, height and width double.
        activation: what follows each layer but the last.

    Example:
        >>> ConvolutionalDecoder(5, (28, 20), planes=2)(torch.zeros(3, 4, 5)).shape
        torch.Size([3, 4, 1120])
    """

    def __init__(
        self,
        inputs: int,
        shape: Sequence[int],
        *,
        planes: int = 1,
        channels: Sequence[int] = (64, 32),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        height, width = shape
        channels = layer_sizes(channels)
        small = [-(-side // 2 ** len(channels)) for side in (height, width)]
        first = channels[0] if channels else planes
        self.shape = (height, width)
        self.start = nn.Sequential(
            nn.Linear(inputs, first * small[0] * small[1]),
            ACTIVATIONS[activation](),
            nn.Unflatten(-1, (first, *small)),
        )
        layers: list[nn.Module] = []
        for before, after in pairwise((first, *channels)):
            layers += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(before, after, 3, padding=1),
                ACTIVATIONS[activation](),
            ]
        layers.append(
            nn.Conv2d(channels[-1] if channels else planes, planes, 3, padding=1, bias=False)
        )
        self.convolutions = nn.Sequential(*layers)
        _initialise(self)
        # One for every pixel, which no convolution has: digits are never in the corners.
        self.output_bias = nn.Parameter(torch.zeros(planes * height * width))

    def forward(self, z: Tensor) -> Tensor:
        """(..., inputs) -> (..., planes H W)."""
        maps = self.convolutions(self.start(z.reshape(-1, z.shape[-1])))
        maps = maps[..., : self.shape[0], : self.shape[1]].flatten(1)
        result: Tensor = maps + self.output_bias
        return result.unflatten(0, z.shape[:-1])


def _initialise(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
