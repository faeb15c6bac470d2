"""Finds what programs read besides their arguments, wherever Python keeps it."""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Iterable
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyrovae.parameters.code_reads import (
    closed_over,
    function_of,
    is_others,
    is_plain_object,
    is_trusted,
    modules_imported,
    reads,
    slots_of,
)
from pyrovae.step.packed import PACKED, is_small, unwatchable

ATOMS = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
# Bookkeeping of nn.Module and PyroModule that no forward pass reads as a number.
_INTERNAL = frozenset(nn.Module().__dict__) - {"training", "_parameters", "_buffers", "_modules"} | {
    "_pyro_context", "_pyro_name"
}  # fmt: skip
_HOOKS = [name for name in nn.Module().__dict__ if name.endswith("_hooks")]
# Of these a forward pass reads nothing but parameters and parts.
_SIMPLE = (nn.Linear, nn.Sequential, nn.ReLU, nn.Tanh, nn.SiLU, nn.Sigmoid)
_DEEPEST = 6
_OF_A_PLATE = ("name", "size", "subsample_size", "dim")
_MAKE = ("__init__", "__new__", "__repr__", "__str__", "__del__")  # of an object that is there


class PythonWalk:
    """What some programs read: places with their values, and containers whose lengths count."""

    def __init__(self) -> None:
        self.places: list[Any] = []  # containers, with a key and the value found there for each
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.containers: list[Any] = []
        self.cells: list[tuple[types.CellType, Any]] = []
        self.parameters: dict[int, Tensor] = {}
        self.packs: list[Any] = []  # sets and arrays
        self.unwatchable: list[tuple[Any, str]] = []  # where, and what
        self.named: set[str] = set()
        self._seen: set[Any] = set()
        self._modules: dict[int, types.ModuleType] = {}

    def visit(self, value: Any, depth: int = 0) -> None:
        """Add what can be reached from a value."""
        if isinstance(value, ATOMS) or id(value) in self._seen or depth > _DEEPEST:
            return
        self._seen.add(id(value))
        if isinstance(value, nn.Module):
            self._module(value, depth)
        elif isinstance(value, Tensor):
            return
        elif isinstance(value, dict | types.MappingProxyType):
            self._container(value, value.items(), depth)
        elif isinstance(value, list | deque):
            self._container(value, enumerate(value), depth)
        elif isinstance(value, tuple):  # which cannot change, but what is in it can
            for number, part in enumerate(value):
                self._note(number, part)
                self.visit(part, depth + 1)
        elif isinstance(value, PACKED):
            if is_small(value):
                self.packs.append(value)
        elif isinstance(value, functools.partial):
            for part in (value.func, value.args, value.keywords):
                self.visit(part, depth)
        elif isinstance(value, types.MethodType):
            self.visit(value.__self__, depth)
            self.visit(value.__func__, depth)
        elif isinstance(value, types.FunctionType):
            self._function(value, depth)
        elif isinstance(value, types.ModuleType):
            if not is_trusted(value):
                self._modules[id(value)] = value
        elif isinstance(value, type):
            self._class(value, depth)
        elif isinstance(value, pyro.plate):
            attributes = vars(value)
            self._container(attributes, ((k, attributes[k]) for k in _OF_A_PLATE), depth)
        elif is_plain_object(value):
            self.attributes(value, depth)

    def entry(self, container: Any, key: Any, value: Any, depth: int) -> None:
        """Add a place, and what can be reached from there."""
        self.place(container, key, value)
        self._note(key, value)
        self.visit(value, depth + 1)

    def place(self, container: Any, key: Any, value: Any) -> None:
        """Add a place alone."""
        self.places.append(container)
        self.keys.append(key)
        self.values.append(value)

    def parameter(self, parameter: Tensor) -> None:
        """Add a parameter, whose kind and hooks count."""
        self.parameters[id(parameter)] = parameter
        for hooks in (parameter._backward_hooks, parameter._post_accumulate_grad_hooks):
            if hooks:
                self.hooks(hooks)

    def hooks(self, hooks: Any) -> None:
        """Add hooks, of a parameter or of all modules."""
        self._container(hooks, hooks.items(), 0)

    def attributes(self, value: Any, depth: int) -> None:
        """All that an object and its class hold, but what the class says need not be watched."""
        ignored = getattr(value, "unwatched", ())
        attributes = getattr(value, "__dict__", {})
        watched = (
            (k, v) for k, v in attributes.items() if not (k in ignored or _is_cache(value, k))
        )
        self._container(attributes, watched, depth)
        for name in slots_of(type(value)):
            if hasattr(value, name):
                self.entry(_Slots(value), name, getattr(value, name), depth)
        self._class(type(value), depth, made=True)

    def named_in_modules(self) -> None:
        """Of the modules that were reached, what the code that was reached names."""
        done: set[tuple[int, str]] = set()
        more = True
        while more:
            more = False
            for module in list(self._modules.values()):
                for name in sorted(self.named & vars(module).keys()):
                    if (id(module), name) not in done:
                        done.add((id(module), name))
                        self._variable(vars(module), name, 0)
                        more = True

    def _variable(self, variables: dict[str, Any], name: str, depth: int) -> None:
        value = variables[name]
        if isinstance(value, types.ModuleType | type) and is_trusted(value):
            return
        self.entry(variables, name, value, depth)

    def _note(self, name: Any, value: Any) -> None:
        what = unwatchable(value)
        if what is not None:
            self.unwatchable.append((name, what))

    def _container(self, container: Any, items: Iterable[tuple[Any, Any]], depth: int) -> None:
        self.containers.append(container)
        for key, value in list(items):
            self.entry(container, key, value, depth)

    def _module(self, module: nn.Module, depth: int) -> None:
        attributes = vars(module)
        simple = type(module) in _SIMPLE
        self.containers.append(attributes)
        for name in list(attributes):
            value = attributes[name]
            if name in ("_parameters", "_buffers", "_modules"):
                if value or not simple:
                    # The depth of a network is no measure of how far its parts are from the program.
                    self._container(value, value.items(), 0)
            elif name in _HOOKS:
                if value:  # of new ones torch counts the handles
                    self._container(value, value.items(), depth)
            elif not (
                simple or name in _INTERNAL or name.startswith("__") or _is_cache(module, name)
            ):
                self.entry(attributes, name, value, depth)
        for parameter in module._parameters.values():
            if parameter is not None:
                self.parameter(parameter)
        if not simple:
            self._class(type(module), depth, made=True)

    def _class(self, kind: type, depth: int, *, made: bool = False) -> None:
        """What a class and those it inherits from hold, and what their methods read."""
        for base in kind.__mro__:
            if is_others(base) or (base, made) in self._seen:
                continue
            self._seen.add((base, made))
            held, trusted = vars(base), is_trusted(base)
            if not trusted:
                self.containers.append(held)
            for name, value in list(held.items()):
                function = function_of(value)
                if function is not None:
                    if not (trusted or (made and name in _MAKE)):
                        self.entry(held, name, value, depth)
                        self.visit(function, depth)
                elif not (name.startswith("__") or name == "_abc_impl"):
                    self.entry(held, name, value, depth)

    def _function(self, function: types.FunctionType, depth: int) -> None:
        if is_others(function):
            return
        for name, cell, value in closed_over(function):
            self.cells.append((cell, value))
            self._note(name, value)
            self.visit(value, depth + 1)
        self.visit(function.__defaults__, depth + 1)
        self.visit(function.__kwdefaults__, depth + 1)
        if is_trusted(function):
            return
        self._container(vars(function), vars(function).items(), depth)
        found = reads(function.__code__)
        self.named |= found.names
        for name in sorted(found.variables & function.__globals__.keys()):
            self._variable(function.__globals__, name, depth)
        for module in modules_imported(function):
            self.visit(module, depth)


def _is_cache(value: Any, name: str) -> bool:
    """Whether it is what a bijector remembers of its last call, which it knows again by the very tensor."""
    return name.startswith("_cached_") and isinstance(value, torch.distributions.Transform)


class _Slots:
    """The slots of an object, by name."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    def __getitem__(self, name: str) -> Any:
        return getattr(self._owner, name)
