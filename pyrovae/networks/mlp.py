"""Encoders and decoders: plain `torch.nn` modules that know nothing of probability."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import index

from torch import Tensor, nn

from pyrovae.registry.plain import whole_numbers

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
}


def layer_sizes(hidden: Iterable[int] | int) -> list[int]:
    """The sizes of hidden layers, or the channels of convolutions; one number is one layer.

    Raises:
        ValueError: no whole numbers, or one below 1.

    Example:
        >>> layer_sizes((200, 100)), layer_sizes(400)
        ([200, 100], [400])
    """
    try:
        sizes = [index(size) for size in (hidden if isinstance(hidden, Iterable) else [hidden])]
    except TypeError:  # how Python says that something is no whole number
        sizes = [0]
    if any(size < 1 for size in sizes):
        raise ValueError(
            f"hidden is {hidden!r}: it must be the sizes of the layers, whole numbers of at least 1, such as "
            "(200, 200)"
        )
    return sizes


def check_width(x: Tensor, inputs: int) -> None:
    """Say it in words if a network was given rows of another width than its own.

    Raises:
        ValueError: says which width, and which was expected.
    """
    if x.shape[-1:] != (inputs,):
        raise ValueError(
            f"the shape is {tuple(x.shape)}, the network was made for rows of {inputs}: (N, {inputs})"
        )


class MLP(nn.Module):
    """A multilayer perceptron with a linear last layer, for any number of leading dimensions.

    Args:
        inputs: size of the last dimension of what comes in.
        outputs: size of the last dimension of what comes out.
        hidden: sizes of the hidden layers, from input to output; may be empty.
        activation: what follows each hidden layer, one of `ACTIVATIONS`.
        dropout: share of each hidden layer's outputs that is set to 0 in training, from 0 to below 1.

    Raises:
        ValueError: an unknown activation, a size below 1, or a share that is none.

    Example:
        >>> import torch
        >>> MLP(3, 2, hidden=(5,))(torch.zeros(7, 4, 3)).shape
        torch.Size([7, 4, 2])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation is {activation!r}: the known ones are {', '.join(ACTIVATIONS)}"
            )
        whole_numbers(inputs=inputs, outputs=outputs)
        self.inputs = inputs
        sizes = [inputs, *layer_sizes(hidden), outputs]
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}: it is a share, from 0 to below 1")
        layers: list[nn.Module] = []
        for here, there in pairwise(sizes[:-1]):
            layers += [nn.Linear(here, there), ACTIVATIONS[activation]()]
            layers += [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        check_width(x, self.inputs)
        result: Tensor = self.layers(x)
        return result

    @property
    def last(self) -> nn.Linear:
        """The last, linear layer."""
        layer = self.layers[-1]
        if not isinstance(layer, nn.Linear):
            raise TypeError("the last layer of an MLP is linear")
        return layer

    @property
    def output_bias(self) -> Tensor:
        """What is added to the output at the very end, (outputs,)."""
        return self.last.bias
