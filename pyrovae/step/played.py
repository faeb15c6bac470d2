"""A recording of calls of one kind: played, held against the program, at some time compiled."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae.step.agreement import copies, matches, same_numbers, sound
from pyrovae.step.call_arguments import Arguments
from pyrovae.step.compiled import Compiled
from pyrovae.step.lowering import CannotCompileError
from pyrovae.step.random_state import Before, RandomState
from pyrovae.step.recording import Outputs, Recording, reason
from pyrovae.step.rounding import spread_of_rounding

if TYPE_CHECKING:
    from pyrovae.step.capture import Capture

log = logging.getLogger("pyrovae")


class Played:
    """A recording of calls of one kind, at some time compiled."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.compiled: Compiled | None = None
        self._threads = 0  # that it was compiled for: more would have no place to write to
        self.plays = 0
        self.next_check = 1

    def ready(self) -> bool:
        """Whether it is compiled, and what was compiled in is as it was."""
        if self.compiled is not None:
            same = self._threads == torch.get_num_threads()
            if not same or not self.compiled.holds():
                self.compiled = None
        return self.compiled is not None

    def due(self, calls: int = 1) -> bool:
        """Whether one of so many next calls is to be held against the function itself."""
        return self.plays + calls >= self.next_check

    def quickly(
        self, capture: Capture, tensors: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Outputs:
        """Run what is compiled; the function itself if the loss is not a number and nothing was applied."""
        self.plays += 1
        compiled: Compiled = self.compiled  # type: ignore[assignment]
        inputs = [*capture.state, *tensors]
        outputs = compiled(inputs)
        if capture.trains and not sound(outputs):
            return capture.in_python(args, kwargs)
        return outputs if compiled.finishes else capture.finish(outputs)

    def __call__(self, capture: Capture, arguments: Arguments) -> Outputs:
        """Run what is compiled, or play; now and then the function itself as well."""
        inputs = [*capture.state, *arguments.tensors]
        if self.due():
            self.plays += 1
            self.next_check *= 10
            return capture.finish(self._check(capture, arguments, inputs))
        if self.ready():
            return self.quickly(capture, arguments.tensors, arguments.args, arguments.kwargs)
        self.plays += 1
        if capture.compiler is not None and capture.policy.worth_compiling(arguments.key):
            return self._compile(capture, arguments, inputs)
        began = time.perf_counter()
        outputs = capture.finish(self._play(capture, arguments, inputs))
        capture.policy.played(arguments.key, time.perf_counter() - began)
        return outputs

    def _play(self, capture: Capture, arguments: Arguments, inputs: list[Tensor]) -> Outputs:
        """Play; where the loss is not a number, let the program itself say so, or go on as it would."""
        if not (capture.trains and inputs[0].is_cpu):
            return self.recording(inputs)
        changed = self.recording.changed(inputs)
        before = Before(changed, generators=self.recording.generators)
        outputs = self.recording(inputs)
        if sound(outputs):
            return outputs
        before.restore()
        return capture.function(arguments.args, arguments.kwargs)

    def _check(self, capture: Capture, arguments: Arguments, inputs: list[Tensor]) -> Outputs:
        """Play, and run the function itself on the same random numbers; its results are returned."""
        touched = _once([*capture.changeable, *self.recording.changed(inputs)])
        before = Before(touched, inputs, self.recording.generators)
        failed: str | None = None
        try:
            played = self.recording(inputs)
        except Exception as error:
            played, failed = [], f"played back, it fails ({reason(error)})"
        left = copies(touched)
        before.restore()
        outputs = capture.function(arguments.args, arguments.kwargs)  # which may fail as well
        if failed is not None:
            capture.refuse(failed)
        elif not same_numbers([*outputs, *touched], [*played, *left]):
            capture.refuse("played back, its numbers differ from those of the program itself")
        return outputs

    def _compile(self, capture: Capture, arguments: Arguments, inputs: list[Tensor]) -> Outputs:
        """Compile, and take one step both ways; a compiled function that does something else is dropped.

        A loss that is not a number compares with nothing: then the next call compiles.
        """
        touched = _once([*capture.state, *self.recording.changed(inputs)])
        before = Before(touched, inputs, self.recording.generators)
        unfit = capture.trains and not sound(self.recording(inputs), wait=True)
        before.restore()
        if unfit:
            return capture.finish(self._play(capture, arguments, inputs))
        try:
            compiled: Compiled = capture.compiler(self.recording, inputs)  # type: ignore[misc]
        except CannotCompileError as error:
            capture.compiler = None
            log.warning("Not compiling, somewhat slower: %s.", error)
            return capture.finish(self.recording(inputs))
        outputs, wrong = self._both_ways(capture, compiled, inputs)
        if wrong is None:
            self.compiled, self._threads = compiled, torch.get_num_threads()
        else:
            capture.compiler = None
            log.warning("Not compiling, somewhat slower: compiled, %s.", wrong)
        return outputs if compiled.finishes else capture.finish(outputs)

    def _both_ways(
        self, capture: Capture, compiled: Compiled, inputs: list[Tensor]
    ) -> tuple[Outputs, str | None]:
        """What a step as recorded returns, and what is wrong with the compiled one."""
        own = self.recording.generators
        touched = _once([*capture.state, *self.recording.changed(inputs), *compiled.touched])
        before = Before(touched, inputs, own)
        came = _came(compiled, inputs)
        left, drawn = copies(touched), RandomState(inputs, own)
        before.restore()

        def step() -> Outputs:
            outputs = self.recording(inputs)
            return [*(capture.finish(outputs) if compiled.finishes else outputs), *touched]

        expected = step()
        outputs = expected[: len(expected) - len(touched)]
        if came is None:
            return outputs, "it fails"
        after = Before(touched, inputs, own)
        there = [*came, *left]
        same = drawn == after.random
        if same and not matches(expected, there, before.numbers):
            moving = [t for t in capture.state if t.requires_grad and t.is_floating_point()]
            spread = spread_of_rounding(step, before, moving)
            after.restore()
            same = matches(expected, there, before.numbers, spread)
        return outputs, None if same else "its numbers differ"


def _came(compiled: Compiled, inputs: Sequence[Tensor]) -> Outputs | None:
    """What a compiled function returns, or None if it fails, where its recording did not."""
    try:
        return compiled(inputs)
    except Exception:
        return None


def _once(tensors: Sequence[Tensor]) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())
