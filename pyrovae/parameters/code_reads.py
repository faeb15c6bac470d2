"""What the code of a function reads by name, and whose code is looked into at all."""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from pyro.params.param_store import ParamStoreDict

_OTHERS = frozenset({"torch", "pyro", "numpy", "builtins"})


class Reads(NamedTuple):
    """What some code names."""

    variables: frozenset[str]  # of its module, read or not there
    imported: frozenset[str]  # modules that it imports as it runs
    # All of these, attributes, what it closes over, and texts that may name one.
    names: frozenset[str]


@functools.lru_cache(4096)
def reads(body: types.CodeType) -> Reads:
    """What some code and the functions that it defines name.

    Example:
        >>> step = 3
        >>> sorted(reads((lambda x: x.shape + step).__code__).names)
        ['shape', 'step']
    """
    variables: set[str] = set()
    imported: set[str] = set()
    names: set[str] = set()
    for part in _with_nested(body):
        names.update(part.co_names, part.co_freevars, filter(_is_name, part.co_consts))
        for instruction in dis.get_instructions(part):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                variables.add(instruction.argval)
            elif instruction.opname == "IMPORT_NAME":
                imported.add(instruction.argval)
    return Reads(frozenset(variables), frozenset(imported), frozenset(names))


def modules_imported(function: types.FunctionType) -> list[types.ModuleType]:
    """The modules that a function imports as it runs, as far as they are loaded."""
    package = function.__globals__.get("__package__") or ""
    found = []
    for name in sorted(reads(function.__code__).imported):
        for full in (name, f"{package}.{name}".strip(".")):  # which may be relative
            module = sys.modules.get(full)
            if isinstance(module, types.ModuleType):
                found.append(module)
    return found


def is_numerical(value: Any) -> bool:
    """Whether a module, a class or a function is of torch, Pyro or NumPy, or built in."""
    return _package(value) in _OTHERS


def is_others(value: Any) -> bool:
    """Whether it is of those, or of Python's library."""
    return is_numerical(value) or _package(value) in sys.stdlib_module_names


def is_trusted(value: Any) -> bool:
    """Whether it is of those, or of this package: its own variables do not change between steps."""
    return is_others(value) or _package(value) == "pyrovae"


def is_plain_object(value: Any) -> bool:
    """An object whose attributes are worth watching: not a class, a module or something of torch."""
    if isinstance(value, type | types.ModuleType | types.FunctionType | ParamStoreDict):
        return False
    kind = type(value)
    # Distributions fill in attributes as they are read, and loggers as they are used.
    if is_numerical(kind) or _package(kind) in ("logging", "threading"):
        return False
    return hasattr(value, "__dict__") or bool(slots_of(kind))


def slots_of(kind: type) -> list[str]:
    """The names of the slots of a class of a user's or of this package."""
    return [
        name
        for base in kind.__mro__
        if not is_others(base)
        for name, held in vars(base).items()
        if isinstance(held, types.MemberDescriptorType)
    ]


def function_of(value: Any) -> types.FunctionType | None:
    """The function behind what a class holds: a method, a property, or one of these wrapped."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    elif isinstance(value, functools.cached_property):
        value = value.func
    return value if isinstance(value, types.FunctionType) else None


def closed_over(function: types.FunctionType) -> Iterator[tuple[str, types.CellType, Any]]:
    """Name, cell and value of each variable that a function closes over and that has a value."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell, cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _package(value: Any) -> str:
    name = value.__name__ if isinstance(value, types.ModuleType) else value.__module__
    return str(name).partition(".")[0]


def _with_nested(body: types.CodeType) -> Iterator[types.CodeType]:
    yield body
    for constant in body.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _with_nested(constant)


def _is_name(constant: Any) -> bool:
    return isinstance(constant, str) and constant.isidentifier()
