"""A snapshot of what a program reads besides its arguments: attributes, closures, globals and classes.

A recorded step holds these as constants. Before it is played back they must be the same as when it was
recorded, and finding out must cost less than running the program. What the code names and nobody can
watch is refused.
"""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Iterable
from operator import attrgetter, getitem, is_
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from pyrovae.parameters.code_reads import is_plain_object
from pyrovae.programs import modules_of
from pyrovae.step.packed import PACKED, packed
from pyrovae.step.python_walk import ATOMS, PythonWalk
from pyrovae.step.recording import CannotRecordError
from pyrovae.step.surroundings import defaults

_KIND = attrgetter("requires_grad", "dtype", "shape", "device")
_HOOKS_OF_ALL = [
    torch.nn.modules.module._global_forward_pre_hooks,
    torch.nn.modules.module._global_forward_hooks,
    torch.nn.modules.module._global_backward_pre_hooks,
    torch.nn.modules.module._global_backward_hooks,
]


class PythonState:
    """A snapshot of what some programs read, and a fast check that it still holds.

    Args:
        programs: programs, and objectives.
        places: further containers, with keys at which must be the same objects.

    Raises:
        CannotRecordError: their code reads something whose changes cannot be noticed.
    """

    def __init__(self, programs: Iterable[Any], places: Iterable[tuple[Any, str]] = ()) -> None:
        walk, programs = PythonWalk(), list(programs)
        for program in programs:
            walk.visit(program)
            if isinstance(program, ELBO):  # also one of Pyro's own
                walk.attributes(program, 1)
        for container, key in places:
            walk.place(container, key, container[key])
            if isinstance(container[key], Tensor):
                walk.parameter(container[key])
        for module in modules_of(*programs):
            walk.visit(module)
        for hooks in _HOOKS_OF_ALL:
            walk.hooks(hooks)
        walk.named_in_modules()
        for name, what in walk.unwatchable:
            if not isinstance(name, str) or name in walk.named:
                raise CannotRecordError(f"it may read {name!r}, {what}")
        self._places, self._keys, self._values = walk.places, walk.keys, walk.values
        self._containers = walk.containers
        self._lengths = list(map(len, self._containers))
        self._cells = walk.cells
        self._contents = [value for _, value in self._cells]
        self._tensors = list(walk.parameters.values())
        self._kinds = self._kinds_now()
        self._packs = walk.packs
        self._packed = list(map(packed, self._packs))
        self._defaults = defaults()
        # Torch counts the hooks that were ever set; those that were there are among the containers.
        self._hooks = RemovableHandle.next_id

    def holds(self) -> bool:
        """Whether everything is as it was: the same objects, lengths and kinds of parameters."""
        try:
            return (
                self._hooks == RemovableHandle.next_id
                and self._defaults == defaults()
                and all(map(is_, map(getitem, self._places, self._keys), self._values))
                and list(map(len, self._containers)) == self._lengths
                and self._kinds_now() == self._kinds
                and all(cell.cell_contents is value for cell, value in self._cells)
                and (not self._packs or list(map(packed, self._packs)) == self._packed)
            )
        except (KeyError, IndexError, ValueError, AttributeError):
            return False

    def equals(self, other: PythonState) -> bool:
        """Whether another snapshot found the same, numbers and texts compared by value."""
        return (
            len(self._values) == len(other._values)
            and len(self._contents) == len(other._contents)
            and self._lengths == other._lengths
            and self._kinds == other._kinds
            and self._keys == other._keys
            and self._packed == other._packed
            and self._defaults == other._defaults
            and all(map(_same, self._values, other._values))
            and all(map(_same, self._contents, other._contents))
        )

    def _kinds_now(self) -> list[tuple[Any, ...]]:
        return [*map(_KIND, self._tensors), *map(Tensor.stride, self._tensors)]


def _same(here: Any, there: Any) -> bool:
    if here is there:
        return True
    if type(here) is not type(there):
        return False
    if isinstance(here, ATOMS):
        return bool(here == there)
    if isinstance(here, types.FunctionType):
        return here.__code__ is there.__code__
    if isinstance(here, tuple):
        return len(here) == len(there) and all(map(_same, here, there))
    # What is in them is compared by itself.
    return isinstance(here, (dict, list, deque, pyro.plate, *PACKED)) or is_plain_object(here)
