"""Encoders and decoders by the name of their architecture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Literal

from torch import nn

from pyrovae.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from pyrovae.networks.mlp import ACTIVATIONS, MLP

Architecture = Literal["mlp", "convolutional"]


def make_encoder(
    features: int,
    outputs: int,
    *,
    hidden: Sequence[int],
    activation: str,
    network: Architecture = "mlp",
    shape: Sequence[int] | None = None,
    planes: int = 1,
    dropout: float = 0.0,
) -> nn.Module:
    """Return a network from ``planes`` times D numbers to ``outputs``.

    Args:
        features: D.
        outputs: size of what comes out.
        hidden: sizes of the hidden layers, or channels of the convolutions, from x on.
        activation: what follows each of them.
        network: ``"mlp"`` or ``"convolutional"``.
        shape: of the image, for convolutions; a square if None.
        planes: how many numbers there are for each of the D.
        dropout: share of each hidden layer's outputs that is set to 0 in training; for an MLP.

    Raises:
        ValueError: an unknown architecture, or an image that is no square and has no shape.
        TypeError: a shape or dropout that the network has no use for.

    Example:
        >>> type(make_encoder(64, 4, hidden=(8,), activation="relu")).__name__
        'MLP'
    """
    size = image_shape(features, network, shape, activation)
    if size is None:
        return MLP(
            planes * features, outputs, hidden=hidden, activation=activation, dropout=dropout
        )
    if dropout:
        raise TypeError("dropout is for network='mlp': the convolutions have none")
    return ConvolutionalEncoder((planes, *size), outputs, channels=hidden, activation=activation)


def make_decoder(
    latent: int,
    features: int,
    *,
    planes: int,
    hidden: Sequence[int],
    activation: str,
    network: Architecture = "mlp",
    shape: Sequence[int] | None = None,
) -> nn.Module:
    """Return a network from ``latent`` numbers to ``planes`` times D.

    Args:
        latent: size of what comes in.
        features: D.
        planes: numbers for each of the D; those of the first plane come first.
        hidden: sizes of the hidden layers, or channels of the convolutions, from z on.
        activation: what follows each of them.
        network: ``"mlp"`` or ``"convolutional"``.
        shape: of the image, for convolutions; a square if None.

    Raises:
        ValueError: an unknown architecture, or an image that is no square and has no shape.
        TypeError: a shape that the network has no use for.

    Example:
        >>> make_decoder(2, 64, planes=1, hidden=(8, 4), activation="relu", network="convolutional").shape
        (8, 8)
    """
    size = image_shape(features, network, shape, activation)
    if size is None:
        return MLP(latent, planes * features, hidden=hidden, activation=activation)
    return ConvolutionalDecoder(latent, size, planes=planes, channels=hidden, activation=activation)


def image_shape(
    features: int, network: str, shape: Sequence[int] | None, activation: str
) -> tuple[int, int] | None:
    """Height and width of the image a network works on, a square if not given; None for an MLP."""
    if network not in ("mlp", "convolutional"):
        raise ValueError(f"network is {network!r}: the known ones are mlp, convolutional")
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"activation is {activation!r}: the known ones are {', '.join(ACTIVATIONS)}"
        )
    if network == "mlp":
        if shape is not None:
            raise TypeError("shape is for network='convolutional': an MLP takes its input as a row")
        return None
    if shape is None:
        side = math.isqrt(features)
        shape = (side, side)
    try:
        sides = [index(side) for side in shape]
    except TypeError:  # how Python says that something is no whole number
        sides = []
    if len(sides) != 2 or min(sides) < 1 or sides[0] * sides[1] != features:
        raise ValueError(
            f"features is {features}, which is no image of shape {shape!r}: give its height and width as "
            "shape=(H, W)"
        )
    return sides[0], sides[1]
