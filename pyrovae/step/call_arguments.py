"""The arguments of a call: the tensors in them, and a key of everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from pyrovae.densities.missing import any_missing
from pyrovae.step.recording import CannotRecordError


class Arguments:
    """The arguments of a call: the tensors in them, and a key of all that is not a number in a tensor.

    Raises:
        CannotRecordError: an argument whose changes would go unnoticed.
    """

    __slots__ = ("args", "kwargs", "key", "missing", "tensors")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args, self.kwargs = args, kwargs
        self.tensors: list[Tensor] = []
        key: list[Any] = []
        for value in args:
            self._visit(value, key)
        for name, value in kwargs.items():
            key.append(name)
            self._visit(value, key)
        self.missing = _missing(self.tensors)
        self.key = (*key, self.missing)

    def _visit(self, value: Any, key: list[Any]) -> None:
        if isinstance(value, Tensor):
            if value.requires_grad:
                raise CannotRecordError("an argument requires a gradient of its own")
            self.tensors.append(value)
            key.append((value.dtype, value.shape, value.stride(), value.device))
        elif value is None or isinstance(value, int | float | str | torch.Size):
            key.append((type(value), value))
        elif isinstance(value, list | tuple):
            key.append((type(value), len(value)))
            for part in value:
                self._visit(part, key)
        elif isinstance(value, dict):
            key.append((dict, tuple(value)))
            for part in value.values():
                self._visit(part, key)
        else:
            raise CannotRecordError(f"an argument is a {type(value).__name__}: pass a tensor")

    def rebuilt(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same arguments with other tensors in them, in the order of ``self.tensors``."""
        rest = iter(tensors)

        def rebuild(value: Any) -> Any:
            if isinstance(value, Tensor):
                return next(rest)
            if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
                parts = [rebuild(part) for part in value]
                return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
            if isinstance(value, dict):
                return {name: rebuild(part) for name, part in value.items()}
            return value

        return tuple(map(rebuild, self.args)), {k: rebuild(v) for k, v in self.kwargs.items()}


def slices(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Calls with each slice in turn of the tensors among some arguments.

    Example:
        >>> slices((torch.tensor([1, 2]), "a"), {"b": torch.tensor([3, 4])})[1]
        ((tensor(2), 'a'), {'b': tensor(4)})
    """
    together = Arguments(args, kwargs)
    counts = {len(tensor) if tensor.dim() else 0 for tensor in together.tensors}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(
            f"the first dimension of every tensor must be the number of steps; they are {sorted(counts)}: "
            "give tensors of one more dimension than a single step takes"
        )
    parts = zip(*(tensor.unbind() for tensor in together.tensors), strict=True)
    return [together.rebuilt(part) for part in parts]


class Signature:
    """What a call without nested arguments looks like if it is of a known kind; checked in little time."""

    def __init__(self, arguments: Arguments) -> None:
        self.count = len(arguments.args)
        self.names = tuple(arguments.kwargs)
        self.missing = arguments.missing
        values = (*arguments.args, *arguments.kwargs.values())
        self.expected = [(type(value), _seen(value)) for value in values]

    def tensors(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor] | None:
        """The tensors of a call, or None if it is of another kind."""
        if len(args) != self.count or tuple(kwargs) != self.names:
            return None
        found = []
        for value, (kind, seen) in zip((*args, *kwargs.values()), self.expected, strict=True):
            if type(value) is not kind:
                return None
            if kind is Tensor:
                if _KIND(value) != seen[0] or value.stride() != seen[1]:
                    return None
                found.append(value)
            elif value != seen:
                return None
        return found if _missing(found) == self.missing else None


_KIND = attrgetter("dtype", "shape", "device", "requires_grad")


def _seen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _KIND(value), value.stride()
    # Of what is inside a list or a dictionary nothing is known here: never equal.
    return math.nan if isinstance(value, list | tuple | dict) else value


def _missing(tensors: Sequence[Tensor]) -> bool:
    """Whether a value may be missing; always on an accelerator, where to ask is to wait."""
    return any(
        tensor.device.type != "cpu" or any_missing(tensor)
        for tensor in tensors
        if tensor.is_floating_point()
    )
