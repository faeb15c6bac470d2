"""The arguments of a call: the tensors in them, and a key of everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyrovae.missing import any_missing
from pyrovae.recording import CannotRecordError


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
        # On an accelerator, where to ask is to wait, some value may always be missing.
        floating = [tensor for tensor in self.tensors if tensor.is_floating_point()]
        self.missing = any(t.device.type != "cpu" or any_missing(t) for t in floating)
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
