"""What a program reads besides its arguments: attributes, closures and globals.

A recorded step holds these as constants. Before it is played back they must be the same as when it was
recorded, and finding out must cost less than running the program.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterable
from operator import attrgetter, getitem, is_
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from pyro.params.param_store import ParamStoreDict
from torch import Tensor, nn

from pyrovae.programs import modules_of

_ATOMS = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
# Bookkeeping of nn.Module and PyroModule that no forward pass reads as a number.
_INTERNAL = frozenset(nn.Module().__dict__) - {"training", "_parameters", "_buffers", "_modules"} | {
    "_pyro_context", "_pyro_name"
}  # fmt: skip
# Of these a forward pass reads nothing but parameters and parts.
_SIMPLE = (nn.Linear, nn.Sequential, nn.ReLU, nn.Tanh, nn.SiLU, nn.Sigmoid)
_OTHERS_CODE = ("torch", "pyro", "numpy", "builtins")
_DEEPEST = 6
_KIND = attrgetter("requires_grad", "dtype", "shape", "device")
_OF_A_PLATE = ("name", "size", "subsample_size", "dim")


class PythonState:
    """A snapshot of what some programs read, and a fast check that it still holds."""

    def __init__(
        self, programs: Iterable[Any], places: Iterable[tuple[dict[str, Any], str]] = ()
    ) -> None:
        self._places: list[Any] = []  # containers, with a key and the value found there for each
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._containers: list[Any] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._parameters: dict[int, nn.Parameter] = {}
        self._seen: set[int] = set()
        programs = list(programs)
        for program in programs:
            self._visit(program, 0)
            if isinstance(program, ELBO):  # also one of Pyro's own
                self._attributes(program, 1)
        for container, key in places:
            self._entry(container, key, container[key], 0)
        for module in modules_of(*programs):
            self._visit(module, 0)
        self._lengths = list(map(len, self._containers))
        self._tensors = list(self._parameters.values())
        self._kinds = self._kinds_now()
        self._contents = [value for _, value in self._cells]

    def holds(self) -> bool:
        """Whether everything is as it was: the same objects, lengths and kinds of parameters."""
        try:
            return (
                all(map(is_, map(getitem, self._places, self._keys), self._values))
                and list(map(len, self._containers)) == self._lengths
                and self._kinds_now() == self._kinds
                and all(cell.cell_contents is value for cell, value in self._cells)
            )
        except (KeyError, IndexError, ValueError):
            return False

    def equals(self, other: PythonState) -> bool:
        """Whether another snapshot found the same, numbers and texts compared by value."""
        return (
            len(self._values) == len(other._values)
            and self._lengths == other._lengths
            and self._kinds == other._kinds
            and self._keys == other._keys
            and all(map(_same, self._values, other._values))
            and all(map(_same, self._contents, other._contents))
        )

    def _kinds_now(self) -> list[tuple[Any, ...]]:
        return list(map(_KIND, self._tensors))

    def _visit(self, value: Any, depth: int) -> None:
        if isinstance(value, _ATOMS) or id(value) in self._seen or depth > _DEEPEST:
            return
        self._seen.add(id(value))
        if isinstance(value, nn.Module):
            self._module(value, depth)
        elif isinstance(value, Tensor):
            return
        elif isinstance(value, dict):
            self._container(value, value.items(), depth)
        elif isinstance(value, list | tuple):
            self._container(value, enumerate(value), depth)
        elif isinstance(value, functools.partial):
            for part in (value.func, value.args, value.keywords):
                self._visit(part, depth)
        elif isinstance(value, types.MethodType):
            self._visit(value.__self__, depth)
            self._visit(value.__func__, depth)
        elif isinstance(value, types.FunctionType):
            self._function(value, depth)
        elif isinstance(value, pyro.plate):
            attributes = vars(value)
            self._container(attributes, ((k, attributes[k]) for k in _OF_A_PLATE), depth)
        elif _is_plain_object(value):
            self._attributes(value, depth)

    def _attributes(self, value: Any, depth: int) -> None:
        """All that an object holds but what its class says need not be watched."""
        attributes, ignored = vars(value), getattr(value, "unwatched", ())
        self._container(
            attributes, ((k, v) for k, v in attributes.items() if k not in ignored), depth
        )

    def _container(self, container: Any, items: Iterable[tuple[Any, Any]], depth: int) -> None:
        self._containers.append(container)
        for key, value in list(items):
            self._entry(container, key, value, depth)

    def _entry(self, container: Any, key: Any, value: Any, depth: int) -> None:
        self._places.append(container)
        self._keys.append(key)
        self._values.append(value)
        self._visit(value, depth + 1)

    def _module(self, module: nn.Module, depth: int) -> None:
        attributes = vars(module)
        simple = type(module) in _SIMPLE
        if not simple:
            self._containers.append(attributes)
        for name in list(attributes):
            value = attributes[name]
            if name in ("_parameters", "_buffers", "_modules"):
                if value or not simple:
                    # The depth of a network is no measure of how far its parts are from the program.
                    self._container(value, value.items(), 0)
            elif not (simple or name in _INTERNAL or name.startswith("__")):
                self._entry(attributes, name, value, depth)
        for parameter in module._parameters.values():
            if parameter is not None:
                self._parameters[id(parameter)] = parameter
        if _is_users(type(module).forward):
            self._function(type(module).forward, depth)

    def _function(self, function: Callable[..., Any], depth: int) -> None:
        if not _is_users(function):
            return
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            self._cells.append((cell, value))
            self._visit(value, depth + 1)
        self._visit(function.__defaults__, depth + 1)
        self._visit(function.__kwdefaults__, depth + 1)
        for name, value in inspect.getclosurevars(function).globals.items():
            if not isinstance(value, types.ModuleType | type):
                self._entry(function.__globals__, name, value, depth)


def _is_users(function: Any) -> bool:
    return isinstance(function, types.FunctionType) and not _is_others(function.__module__)


def _is_others(module: str) -> bool:
    return module.partition(".")[0] in _OTHERS_CODE


def _is_plain_object(value: Any) -> bool:
    """An object whose attributes are worth watching: not a class, a module or something of torch."""
    if isinstance(value, type | types.ModuleType | ParamStoreDict) or not hasattr(
        value, "__dict__"
    ):
        return False
    # Distributions fill in attributes as they are read.
    return not _is_others(type(value).__module__)


def _same(here: Any, there: Any) -> bool:
    if here is there:
        return True
    if type(here) is not type(there):
        return False
    if isinstance(here, _ATOMS):
        return bool(here == there)
    if isinstance(here, types.FunctionType):
        return here.__code__ is there.__code__
    # What is in them is compared by itself.
    return isinstance(here, dict | list | tuple | pyro.plate) or _is_plain_object(here)
