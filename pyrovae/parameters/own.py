"""Every `pyro.nn.PyroModule` with its own parameters, not those of Pyro's global store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pyro
from pyro.nn.module import _Context
from pyro.poutine.messenger import Messenger
from torch import Tensor

# Handlers and modules of Pyro know of one thread alone: several take turns, a run of programs each.
TURN = threading.RLock()


@contextmanager
def own_parameters() -> Iterator[None]:
    """Let every ``PyroModule`` that runs meanwhile use its own parameters, not those of the global store.

    By default two modules whose attributes have the same names share parameters through Pyro's global
    store; a library that holds several models at once cannot live with that. What a module asks for by
    ``pyro.param`` is in that store, as ever: a store for each module, which Pyro would make, would hide it
    from the other program.
    """
    with (
        TURN,
        pyro.settings.context(module_local_params=True),
        mock.patch.multiple(
            _Context, create=True, __enter__=_enter, __exit__=_leave, param_state=_NONE
        ),
        _Constrained(),
    ):
        yield


# What Pyro would look at in the store of a module.
_NONE: dict[str, dict[str, Any]] = {"params": {}, "constraints": {}}


def _enter(context: Any) -> None:
    """What Pyro's does where modules have no stores of their own."""
    context.active += 1
    context.used = True


def _leave(context: Any, *_: Any) -> None:
    context.active -= 1
    if not context.active:
        context.cache.clear()


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
