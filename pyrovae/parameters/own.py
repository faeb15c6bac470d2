"""Every `pyro.nn.PyroModule` with its own parameters, not those of Pyro's global store."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pyro
from pyro.nn.module import _Context
from pyro.poutine.messenger import Messenger
from torch import Tensor


@contextmanager
def own_parameters(*programs: Callable[..., Any]) -> Iterator[None]:
    """Let every ``PyroModule`` that runs meanwhile use its own parameters, not those of the global store.

    By default two modules whose attributes have the same names share parameters through Pyro's global
    store; a library that holds several models at once cannot live with that.

    Args:
        *programs: what is going to run; modules that they reach in whatever way are meant too.
    """
    with (
        pyro.settings.context(module_local_params=True),
        mock.patch.object(_Context, "param_state", _StateWhenAsked(), create=True),
        _Constrained(),
    ):
        yield


class _StateWhenAsked:
    """Gives a module what Pyro gives those alone that were built under ``module_local_params``."""

    def __get__(self, context: Any, owner: Any = None) -> Any:
        return vars(context).setdefault("param_state", {"params": {}, "constraints": {}})


class _Constrained(Messenger):
    """Gives a module's own parameter the method by which `pyro.infer.SVI` gets at it.

    Parameters from the store have it; those of a module under ``module_local_params`` lack it, and a
    step of stock SVI fails on them. The statement has to return the parameter itself: where a guide
    makes its parameters as it runs, what is returned becomes the parameter of the module. So the method
    is taken away again at the end: with it, a module could not be pickled.
    """

    def __init__(self) -> None:
        super().__init__()
        self._given: list[Tensor] = []

    def __exit__(self, *error: Any) -> Any:
        for value in self._given:
            vars(value).pop("unconstrained", None)
        return super().__exit__(*error)

    def _pyro_param(self, msg: Any) -> None:
        if msg["value"] is None and not msg["done"]:
            value = msg["fn"](*msg["args"], **msg["kwargs"])
            if not hasattr(value, "unconstrained"):
                value.unconstrained = weakref.ref(value)
                self._given.append(value)
            msg["value"], msg["done"] = value, True
