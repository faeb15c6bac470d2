"""A recording of calls of one kind: played, held against the program, at some time compiled."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from pyrovae.step.agreement import copies, matches, put_back, same_numbers
from pyrovae.step.call_arguments import Arguments
from pyrovae.step.lowering import CannotCompileError
from pyrovae.step.random_state import RandomState
from pyrovae.step.recording import Outputs, Recording

if TYPE_CHECKING:
    from pyrovae.step.capture import Capture

log = logging.getLogger("pyrovae")


class Compiled(Protocol):
    """A recording and what is done with its outputs, compiled."""

    def __call__(self, inputs: Sequence[Tensor]) -> Outputs:
        """What playing and finishing returns."""
        ...

    def play(self, inputs: Sequence[Tensor]) -> Outputs:
        """What playing returns, before it is finished."""
        ...

    def many(self, state: Sequence[Tensor], batches: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """The first result of a call for each batch."""
        ...

    def holds(self) -> bool:
        """Whether what was compiled in is as it was."""
        ...

    @property
    def finishes(self) -> bool:
        """Whether what is done with the outputs is compiled too."""
        ...

    @property
    def touched(self) -> list[Tensor]:
        """The tensors besides the inputs that it changes."""
        ...


class Played:
    """A recording of calls of one kind, at some time compiled."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.compiled: Compiled | None = None
        self.plays = 0
        self.next_check = 1

    def ready(self) -> bool:
        """Whether it is compiled, and what was compiled in is as it was."""
        if self.compiled is not None and not self.compiled.holds():
            self.compiled = None
        return self.compiled is not None

    def quickly(self, capture: Capture, tensors: list[Tensor]) -> Outputs:
        """Run what is compiled."""
        return self.compiled([*capture.state, *tensors])  # type: ignore[misc]

    def __call__(self, capture: Capture, arguments: Arguments) -> Outputs:
        """Run what is compiled, or play; now and then the function itself as well."""
        if self.ready():
            return self.quickly(capture, arguments.tensors)
        inputs = [*capture.state, *arguments.tensors]
        self.plays += 1
        if self.plays >= self.next_check:
            self.next_check *= 10
            return capture.finish(self._check(capture, arguments, inputs))
        if capture.compiler is not None and capture.policy.worth_compiling(arguments.key):
            return self._compile(capture, arguments, inputs)
        began = time.perf_counter()
        outputs = capture.finish(self.recording(inputs))
        capture.policy.played(arguments.key, time.perf_counter() - began)
        return outputs

    def _check(self, capture: Capture, arguments: Arguments, inputs: list[Tensor]) -> Outputs:
        """Play, and run the function itself on the same random numbers; its results are returned."""
        touched = _once([*capture.changeable, *self.recording.changed(inputs)])
        random, before = RandomState(inputs, self.recording.generators), copies(touched)
        played = self.recording(inputs)
        left = copies(touched)
        random.restore()
        put_back(touched, before)
        outputs = capture.function(arguments.args, arguments.kwargs)
        if not same_numbers([*outputs, *touched], [*played, *left]):
            capture.refuse("played back, its numbers differ from those of the program itself")
        return outputs

    def _compile(self, capture: Capture, arguments: Arguments, inputs: list[Tensor]) -> Outputs:
        """Compile, and take one step both ways; a compiled function that does something else is dropped."""
        try:
            compiled: Compiled = capture.compiler(self.recording, inputs)  # type: ignore[misc]
        except CannotCompileError as error:
            capture.compiler = None
            log.warning("Not compiling, somewhat slower: %s.", error)
            return capture.finish(self.recording(inputs))
        touched = _once([*capture.state, *self.recording.changed(inputs), *compiled.touched])
        own = self.recording.generators
        random, before = RandomState(inputs, own), copies(touched)
        came = compiled(inputs) if compiled.finishes else compiled.play(inputs)
        left, drawn = copies(touched), RandomState(inputs, own)
        random.restore()
        put_back(touched, before)
        outputs = self.recording(inputs)
        if compiled.finishes:
            outputs = capture.finish(outputs)
        if drawn == RandomState(inputs, own) and matches(
            [*outputs, *touched], [*came, *left], before
        ):
            self.compiled = compiled
        else:
            capture.compiler = None
            log.warning("Not compiling, somewhat slower: compiled, its numbers differ.")
        return outputs if compiled.finishes else capture.finish(outputs)


def _once(tensors: Sequence[Tensor]) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())
