"""Running a function of programs and arguments eagerly once, and from a recording ever after."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyrovae.missing import any_missing, known_missing
from pyrovae.policy import Policy
from pyrovae.python_state import PythonState
from pyrovae.recording import (
    CannotRecordError,
    Outputs,
    ParametersChangedError,
    RandomState,
    Recording,
    record,
)

log = logging.getLogger("pyrovae")

Function = Callable[[tuple[Any, ...], dict[str, Any]], Outputs]
MOST_RECORDINGS = 16


class Capture:
    """A function that is recorded at its first call with arguments of a kind, then played back.

    A recording is played back only for arguments of the same shapes, types and constants, and while
    everything the programs read besides (attributes, closures, globals, modes) is as it was. It is held
    against the function itself, on the same random numbers, at plays 1, 10, 100 and so on.

    Args:
        function: called with positional arguments and keyword arguments; returns tensors.
        programs: what it reads: programs and objectives, whose attributes are watched.
        state: the tensors besides the arguments that it reads or changes in place.
        places: further entries of dictionaries that must not change.
        policy: when to record; None records at once.
    """

    def __init__(
        self,
        function: Function,
        programs: Sequence[Any],
        state: Sequence[Tensor],
        places: Sequence[tuple[dict[str, Any], str]] = (),
        policy: Policy | None = None,
    ) -> None:
        self.function = function
        self.programs = programs
        self.state = list({id(tensor): tensor for tensor in state}.values())
        self.changeable = [tensor for tensor in self.state if not tensor.requires_grad]
        self.places = places
        self.policy = policy
        self.refused: str | None = None
        self.made = 0  # recordings
        self._known: list[tuple[PythonState, dict[Any, _Played]]] = []

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outputs:
        """What the function returns for these arguments, and does to the tensors of ``state``."""
        if self.policy is not None:
            self.policy.taken += 1
        if self.refused is not None:
            return self.function(args, kwargs)
        try:
            arguments = Arguments(args, kwargs)
            if not self.made and not self._worth(arguments):
                return self._timed(arguments)
            played = self._recordings().get(arguments.key)
            if played is not None:
                return played(self, arguments)
            if self._worth(arguments):
                return self._record(arguments)
            return self._timed(arguments)
        except ParametersChangedError:
            raise
        except CannotRecordError as error:
            self.refuse(str(error))
            return self.function(args, kwargs)

    def _worth(self, arguments: Arguments) -> bool:
        return self.policy is None or self.policy.worth_recording(arguments.key)

    def _timed(self, arguments: Arguments) -> Outputs:
        began = time.perf_counter()
        outputs = self.function(arguments.args, arguments.kwargs)
        if self.policy is not None:
            self.policy.took(arguments.key, time.perf_counter() - began)
        return outputs

    def _recordings(self) -> dict[Any, _Played]:
        """Those made in the present state of Python; the latest state is looked at first."""
        for i, (state, by_kind) in enumerate(self._known):
            if state.holds():
                if i:
                    self._known.insert(0, self._known.pop(i))
                return by_kind
        now = PythonState(self.programs, self.places)
        for i, (state, by_kind) in enumerate(self._known):
            if now.equals(state):
                self._known.pop(i)
                self._known.insert(0, (now, by_kind))
                return by_kind
        self._known = [(now, {}), *((state, kinds) for state, kinds in self._known if kinds)]
        return self._known[0][1]

    def _record(self, arguments: Arguments) -> Outputs:
        if self.made >= MOST_RECORDINGS:
            raise CannotRecordError(
                f"its arguments or attributes took {MOST_RECORDINGS} different values: pass numbers that "
                "change as tensors"
            )
        state, by_kind = self._known[0]
        # Other objects for the same memory, so that one tensor passed twice is still two arguments.
        tensors = [tensor.detach() for tensor in arguments.tensors]
        with known_missing(arguments.missing):
            recording, outputs = record(
                lambda: self.function(*arguments.rebuilt(tensors)),
                [*self.state, *tensors],
                self.changeable,
            )
        if not state.holds():
            self.refuse("it changes attributes or variables of Python as it runs")
        by_kind[arguments.key] = _Played(recording)
        self.made += 1
        return outputs

    def refuse(self, reason: str) -> None:
        """Run the function itself from now on, and say why in one line."""
        self.refused = reason
        self._known.clear()
        log.warning("Running step by step in Python, slower: %s.", reason)


class _Played:
    """A recording, and how often it was played."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.plays = 0
        self.next_check = 1

    def __call__(self, capture: Capture, arguments: Arguments) -> Outputs:
        self.plays += 1
        inputs = [*capture.state, *arguments.tensors]
        if self.plays < self.next_check:
            return self.recording(inputs)
        self.next_check *= 10
        before, copies = RandomState(inputs), _copies(capture.changeable)
        played = self.recording(inputs)
        left = _copies(capture.changeable)
        before.restore()
        _put_back(capture.changeable, copies)
        outputs = capture.function(arguments.args, arguments.kwargs)
        if not _agree([*outputs, *capture.changeable], [*played, *left]):
            capture.refuse("played back, its numbers differ from those of the program itself")
        return outputs


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


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


@torch.no_grad()
def _put_back(tensors: Sequence[Tensor], copies: Sequence[Tensor]) -> None:
    for tensor, copy in zip(tensors, copies, strict=True):
        tensor.copy_(copy)


def _agree(expected: Sequence[Tensor | None], came: Sequence[Tensor | None]) -> bool:
    """Whether two lists of tensors hold the same numbers, but for the order in which a sum was taken."""
    for one, other in zip(expected, came, strict=True):
        if one is None or other is None:
            if one is not other:
                return False
        elif not (torch.equal(one, other) or _close(one, other)):
            return False
    return True


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype or not one.is_floating_point():
        return False
    size = one.abs().max().item()
    tolerance = 64 * torch.finfo(one.dtype).eps * size
    return torch.allclose(one, other, rtol=0.0, atol=tolerance, equal_nan=True)
