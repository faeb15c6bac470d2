"""Running a function of programs and arguments eagerly once, and from a recording ever after."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pyrovae.densities.missing import known_missing
from pyrovae.parameters.own import TURN
from pyrovae.step.agreement import sound
from pyrovae.step.call_arguments import Arguments, Signature
from pyrovae.step.compiled import Compiled, CompiledStep
from pyrovae.step.loss_and_gradients import Stored
from pyrovae.step.played import Played
from pyrovae.step.policy import Policy
from pyrovae.step.python_state import PythonState
from pyrovae.step.recording import (
    CannotRecordError,
    NotFiniteError,
    Outputs,
    ParametersChangedError,
    Recording,
    record,
)
from pyrovae.step.surroundings import enclosing

log = logging.getLogger("pyrovae")

Function = Callable[[tuple[Any, ...], dict[str, Any]], Outputs]
MOST_RECORDINGS = 16
MOST_ATTEMPTS = 3  # at calls of one kind whose loss is not a number


class Capture:
    """A function that is recorded at its first call with arguments of a kind, then played back.

    A recording is played back only for arguments of the same shapes, types and constants, and while
    what the programs read besides is as it was, as far as `PythonState` finds it: attributes, closures,
    globals, classes, modes. What it finds and cannot watch is refused. Against the rest a recording,
    compiled or not, is held against the function itself at plays 1, 10, 100 and so on, on the same random
    numbers; in between, a change of what nobody can see goes unnoticed.

    Values are not validated as it is played. A loss that is not finite is therefore not applied: the
    function itself is run, which may raise. On an accelerator, where to look at the loss is to wait for
    it, that is so only for a compiled step with Adam, which leaves everything as it is by itself.

    Args:
        function: called with positional arguments and keyword arguments; returns tensors.
        programs: what it reads: programs and objectives, whose attributes are watched.
        state: the tensors besides the arguments that it reads or changes in place.
        policy: when to record, and when to compile.
        places: names in Pyro's store whose parameters must not be replaced.
        finish: what is done with the outputs at every call; its results are what a call returns.
        compiler: compiles a recording together with ``finish``.
    """

    def __init__(
        self,
        function: Function,
        programs: Sequence[Any],
        state: Sequence[Tensor],
        policy: Policy,
        *,
        places: Sequence[tuple[Stored, str]] = (),
        finish: Callable[[Outputs], Outputs] = list,
        compiler: Callable[[Recording, Sequence[Tensor]], Compiled] | None = None,
    ) -> None:
        self.function = function
        self.programs = programs
        self.state = list({id(tensor): tensor for tensor in state}.values())
        self.changeable = [tensor for tensor in self.state if not tensor.requires_grad]
        self._moving = [tensor for tensor in self.state if tensor.requires_grad and tensor.is_leaf]
        self.policy = policy
        self.places = places
        self.finish = finish
        self.trains = finish is not list
        self.compiler = compiler
        self.refused: str | None = None
        self._found = [container[key] for container, key in places]
        self._said: set[str] = set()
        self._not_finite: Counter[Any] = Counter()
        self.made = 0  # recordings
        self._known: list[tuple[PythonState, dict[Any, Played]]] = []
        self._last: tuple[Signature, PythonState, Played] | None = None

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outputs:
        """What the function returns for these arguments, finished; threads take turns."""
        with TURN:
            return self._called(args, kwargs)

    def _called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outputs:
        self.policy.taken += 1
        around = enclosing()
        if around is not None:
            return self._inside(around, args, kwargs)
        if self._gradients_left():
            return self.in_python(args, kwargs)
        if self._last is not None:
            signature, state, latest = self._last
            tensors = signature.tensors(args, kwargs)
            if tensors is not None and state.holds() and latest.ready() and not latest.due():
                return latest.quickly(self, tensors, args, kwargs)
        if self.refused is not None:
            return self.in_python(args, kwargs)
        try:
            arguments = Arguments(args, kwargs)
            if not self.made and not self.policy.worth_recording(arguments.key):
                return self._timed(arguments)
            played = self._recordings().get(arguments.key)
            if played is not None:
                self._last = (Signature(arguments), self._known[0][0], played)
                return played(self, arguments)
            tried = self._not_finite[arguments.key]
            if self.policy.worth_recording(arguments.key) and tried < MOST_ATTEMPTS:
                return self.finish(self._record(arguments))
            return self._timed(arguments)
        except ParametersChangedError:
            raise
        except NotFiniteError:
            self._not_finite[arguments.key] += 1
            return self.in_python(args, kwargs)
        except CannotRecordError as error:
            outputs = self.function(args, kwargs)  # if it fails too, recording it was not at fault
            self.refuse(str(error))
            return self.finish(outputs)

    def many(self, calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> list[Tensor] | None:
        """Call after call, where all are of the last kind and compiled whole; None where they are not.

        Between two of them nobody has a chance to change anything, so that is looked at once.
        """
        with TURN:
            return self._many(calls)

    def _many(self, calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> list[Tensor] | None:
        if self._last is None or enclosing() is not None or self._gradients_left():
            return None
        signature, state, latest = self._last
        found = [signature.tensors(args, kwargs) for args, kwargs in calls]
        batches = [tensors for tensors in found if tensors is not None]
        if len(batches) < len(calls) or not state.holds() or not latest.ready():
            return None
        compiled: CompiledStep = latest.compiled  # type: ignore[assignment]
        # What is done with gradients in Python must first see whether the loss is finite.
        if not compiled.finishes or latest.due(len(calls)):
            return None
        losses: list[Any] = compiled.many(self.state, batches)
        self.policy.taken += len(losses)
        latest.plays += len(losses)
        if self.trains and not sound(losses[-1:]):
            # It stopped there, and applied nothing of it.
            losses[-1:] = self.in_python(*calls[len(losses) - 1])
        rest = calls[len(losses) :]
        if rest:
            losses += self._many(rest) or [self(*call)[0] for call in rest]
        return losses

    def in_python(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outputs:
        """Run the function itself."""
        return self.finish(self.function(args, kwargs))

    @property
    def compiled(self) -> int:
        """How many recordings are compiled."""
        return sum(
            played.compiled is not None for _, kinds in self._known for played in kinds.values()
        )

    def _gradients_left(self) -> bool:
        """Whether someone's own ``backward`` left what is to be added to the gradients of a step."""
        if self.trains:
            for tensor in self._moving:  # at every step: a generator would take twice as long
                if tensor.grad is not None:
                    return True
        return False

    def _inside(self, around: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outputs:
        """Run the function itself, for what surrounds this call; the next may be played again."""
        if around not in self._said and self.refused is None:
            self._said.add(around)
            log.warning("Running steps in Python, slower: they are taken inside %s.", around)
        return self.in_python(args, kwargs)

    def _timed(self, arguments: Arguments) -> Outputs:
        began = time.perf_counter()
        outputs = self.in_python(arguments.args, arguments.kwargs)
        self.policy.took(arguments.key, time.perf_counter() - began)
        return outputs

    def _recordings(self) -> dict[Any, Played]:
        """Those made in the present state of Python; the latest state is looked at first."""
        for i, (state, kinds) in enumerate(self._known):
            if state.holds():
                if i:
                    self._known.insert(0, self._known.pop(i))
                return kinds
        for (container, key), found in zip(self.places, self._found, strict=True):
            if container.get(key) is not found:
                raise ParametersChangedError(f"{key!r} of Pyro's store is another object")
        now = PythonState(self.programs, self.places)
        for i, (state, kinds) in enumerate(self._known):
            if now.equals(state):
                self._known.pop(i)
                self._known.insert(0, (now, kinds))
                return kinds
        self._known = [(now, {}), *((state, kinds) for state, kinds in self._known if kinds)]
        return self._known[0][1]

    def _record(self, arguments: Arguments) -> Outputs:
        if self.made >= MOST_RECORDINGS:
            raise CannotRecordError(
                f"its arguments or attributes took {MOST_RECORDINGS} different values: pass numbers that "
                "change as tensors"
            )
        state, kinds = self._known[0]
        # Other objects for the same memory, so that one tensor passed twice is still two arguments.
        tensors = [tensor.detach() for tensor in arguments.tensors]
        with known_missing(arguments.missing):
            recording, outputs = record(
                lambda: self.function(*arguments.rebuilt(tensors)),
                [*self.state, *tensors],
                self.changeable,
                finite=self.trains,
            )
        if not state.holds():
            now = PythonState(self.programs, self.places)
            if not now.equals(state):
                self.refuse("it changes attributes or variables of Python as it runs")
                return outputs
            self._known[0] = (now, kinds)
        kinds[arguments.key] = Played(recording)
        self.made += 1
        return outputs

    def refuse(self, reason: str) -> None:
        """Run the function itself from now on, and say why in one line."""
        self.refused = reason
        self._known.clear()
        self._last = None
        log.warning("Running step by step in Python, slower: %s.", reason)
