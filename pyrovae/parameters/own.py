"""Every `pyro.nn.PyroModule` with its own parameters, not those of Pyro's global store."""

from __future__ import annotations

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
    step of stock SVI fails on them. Traces get a view that has it. What the statement returns is the
    parameter itself: where a guide makes its parameters as it runs, that becomes the module's.
    """

    def _pyro_param(self, msg: Any) -> None:
        if msg["value"] is None and not msg["done"]:
            value = msg["fn"](*msg["args"], **msg["kwargs"])
            if not hasattr(value, "unconstrained"):
                parameter, value = value, value.view_as(value)
                value.unconstrained = lambda: parameter
                msg["continuation"] = lambda seen: _put_back(seen, value, parameter)
            msg["value"], msg["done"] = value, True


def _put_back(msg: Any, view: Tensor, parameter: Tensor) -> None:
    if msg["value"] is view:
        msg["value"] = parameter
