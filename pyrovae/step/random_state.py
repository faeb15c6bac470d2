"""The random numbers of a step: torch's, to be put back with tensors, and others, which no graph draws."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.step.agreement import copies, put_back


class RandomState:
    """Torch's global random state on the devices of some tensors, to be put back.

    Args:
        tensors: on these devices.
        generators: further ones.
    """

    def __init__(
        self, tensors: Sequence[Tensor], generators: Sequence[torch.Generator] = ()
    ) -> None:
        self.cpu = torch.get_rng_state()
        devices = {tensor.device for tensor in tensors if tensor.device.type == "cuda"}
        self.cuda = {device: torch.cuda.get_rng_state(device) for device in devices}
        self.own = [(generator, generator.get_state()) for generator in generators]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, RandomState)
            and torch.equal(self.cpu, other.cpu)
            and all(torch.equal(state, other.cuda[device]) for device, state in self.cuda.items())
            and all(
                torch.equal(here, there)
                for (_, here), (_, there) in zip(self.own, other.own, strict=True)
            )
        )

    __hash__ = None  # type: ignore[assignment]

    def restore(self) -> None:
        """Put it back."""
        torch.set_rng_state(self.cpu)
        for device, state in self.cuda.items():
            torch.cuda.set_rng_state(state, device)
        for generator, state in self.own:
            generator.set_state(state)


class Before:
    """Numbers of tensors and the random state, to be put back.

    Args:
        tensors: whose numbers.
        devices: the random state is that of the devices of these.
        generators: and of these.
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        devices: Sequence[Tensor] = (),
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        self.tensors = tensors
        self.numbers = copies(tensors)
        self.random = RandomState(devices, generators)

    def restore(self) -> None:
        """Put both back."""
        self.random.restore()
        put_back(self.tensors, self.numbers)


def other_randomness() -> tuple[Any, ...]:
    """The global random state of Python and of NumPy."""
    state: Any = np.random.get_state()
    return random.getstate(), state[1].tobytes(), *state[2:]
