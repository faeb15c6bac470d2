"""The modules that programs are, belong to, or reach."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn


def modules_of(*programs: Callable[..., Any]) -> list[nn.Module]:
    """Return the modules that some programs are, belong to, or refer to by name, each once.

    A method of a module stands for the module; a function for the modules among its closure and the
    globals it names.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> modules_of(lambda x: layer(x)) == [layer]
        True
    """
    found: dict[int, nn.Module] = {}
    for program in programs:
        while isinstance(program, functools.partial) or hasattr(program, "__wrapped__"):
            program = getattr(program, "func", None) or program.__wrapped__
        owner = getattr(program, "__self__", program)
        named = [owner]
        if inspect.isfunction(owner):
            variables = inspect.getclosurevars(owner)
            named = [*variables.nonlocals.values(), *variables.globals.values()]
        found.update({id(module): module for module in named if isinstance(module, nn.Module)})
    return list(found.values())
