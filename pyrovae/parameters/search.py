"""The modules that programs are, belong to, or reach."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from pyrovae.parameters.code_reads import closed_over, is_numerical, reads

# Found often, and without modules: told by their exact type, since a search is made at every step.
_ATOMS = frozenset(
    [int, float, complex, bool, str, bytes, type(None), type, types.ModuleType, torch.Tensor]
    + [types.BuiltinFunctionType]
)
_COLLECTIONS = (list, tuple, set, frozenset)
_TRANSPARENT = (*_COLLECTIONS, dict, functools.partial)
_TYPES = (type, types.ModuleType)
_DEEPEST = 6  # functions and objects, one behind the other
_LONGEST = 1000  # a longer collection holds data


def modules_of(*programs: Callable[..., Any]) -> list[nn.Module]:
    """Return the modules that some programs are, belong to, or reach by name, each once.

    A method of a module stands for the module. Of functions the closure, the defaults and the globals
    they name are searched, and so is what is found there: functions, what handlers and decorators wrap,
    collections, attributes of objects. The parts of a module belong to it, and are not named again.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> modules_of(lambda x: layer(x)) == [layer]
        True
    """
    found: dict[int, nn.Module] = {}
    seen: set[int] = set()

    def visit(value: Any, depth: int) -> None:
        if type(value) in _ATOMS or id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, nn.Module):
            found[id(value)] = value
        elif depth <= _DEEPEST:
            deeper = depth if isinstance(value, _TRANSPARENT) else depth + 1
            for part in _parts(value):
                visit(part, deeper)

    for program in programs:
        visit(program, 0)
    return list(found.values())


def _parts(value: Any) -> Iterator[Any]:
    """What a value that is no module holds or names."""
    if isinstance(value, _COLLECTIONS):
        yield from value if len(value) <= _LONGEST else ()
    elif isinstance(value, dict):
        yield from list(value.values()) if len(value) <= _LONGEST else ()
    elif isinstance(value, types.MethodType):
        yield value.__self__
        if not isinstance(value.__self__, nn.Module):
            yield value.__func__
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value)
    elif not isinstance(value, _TYPES) and not is_numerical(type(value)):
        yield from list(getattr(value, "__dict__", {}).values())
        yield vars(type(value)).get("__call__")
    wrapped = getattr(value, "__dict__", {}).get("__wrapped__")
    if wrapped is not None:
        yield wrapped


def _of_function(function: types.FunctionType) -> Iterator[Any]:
    if is_numerical(function):
        return
    for _, _, value in closed_over(function):
        yield value
    yield from (function.__defaults__, function.__kwdefaults__)
    for name in sorted(reads(function.__code__).variables):
        yield function.__globals__.get(name)
