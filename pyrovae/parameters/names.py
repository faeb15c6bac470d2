"""The names by which `pyro.optim` asks for options, of parameters that are not in Pyro's store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
from pyro.nn import PyroModule
from pyro.params.param_store import param_with_module_name
from torch import Tensor, nn

from pyrovae.parameters.search import modules_of


def names_of(*programs: Callable[..., Any]) -> dict[Tensor, str]:
    """Return the parameters of the modules of some programs, each with the name Pyro's store would give it.

    Example:
        >>> module = PyroModule()
        >>> module.fc = nn.Linear(2, 1, bias=False)
        >>> list(names_of(module).values())
        ['fc$$$weight']
    """
    found: dict[Tensor, str] = {}
    for module in modules_of(*programs):
        for parameter, name in _names(module, getattr(module, "_pyro_name", "")):
            found.setdefault(parameter, name)
    return found


def _names(module: nn.Module, path: str) -> Iterator[tuple[Tensor, str]]:
    if not isinstance(module, PyroModule):
        for name, parameter in module.named_parameters():
            yield parameter, param_with_module_name(path, name) if path else name
        return
    for name, parameter in module.named_parameters(recurse=False):
        attribute = name.removesuffix("_unconstrained")
        yield parameter, _join(path, attribute if attribute in module._pyro_params else name)
    for name, part in module.named_children():
        yield from _names(part, _join(path, name))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@contextmanager
def names_known(
    optim: Any, parameters: Sequence[Tensor], *programs: Callable[..., Any]
) -> Iterator[None]:
    """Let an optimizer of Pyro find the names of parameters that it has not met yet.

    It asks Pyro's store, for options that depend on the name and for a state that was loaded; the store
    does not know the parameters of modules, and knows them no longer in the end.
    """
    if not isinstance(optim, pyro.optim.PyroOptim) or all(
        p in optim.optim_objs for p in parameters
    ):
        yield
        return
    known = pyro.get_param_store()._param_to_name
    added = {p: name for p, name in names_of(*programs).items() if p not in known}
    known.update(added)
    try:
        yield
    finally:
        for parameter in added:
            known.pop(parameter, None)
