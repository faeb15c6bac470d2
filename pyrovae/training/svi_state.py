"""What `pyrovae.SVI` remembers from step to step besides parameters and buffers, and how to put it back.

Whatever a step is made of inside, what it remembers has one form here: nested values, with tensors by
the names of the parameters they belong to. A new kind of update adds its memory in these two functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import pyro
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer

from pyrovae.step.untrained import not_given
from pyrovae.storage.optimizer_state import read_optimizer, set_optimizer
from pyrovae.svi import SVI
from pyrovae.training.optimizer import OUTSIDE


@runtime_checkable
class Remembering(Protocol):
    """An objective with tensors that change as training goes on."""

    def state(self) -> dict[str, Tensor]:
        """These tensors, by name."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` held."""
        ...


def find_stored(svi: SVI, x: Tensor, extras: Mapping[str, Any]) -> None:
    """Let the state before the first step hold the parameters in Pyro's store that the programs use.

    Raises:
        ValueError: an optimiser of torch that was not given them.
    """
    if not pyro.get_param_store()._params:
        return
    svi._function.look((x,), dict(extras))
    if svi.optimizer is None:
        return
    for name, leaf in svi._function.stored().items():
        if not_given(svi.optimizer, [leaf]):
            raise ValueError(OUTSIDE.format(what=f"pyro.param({name!r})"))


def read_svi(svi: SVI, names: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the next step depends on: nested values; tensors are those at work, not copies.

    Args:
        svi: before or after any step.
        names: every trained parameter by name.
    """
    optimizer = _optimizer(svi)
    return {
        "optimizer": None if optimizer is None else read_optimizer(optimizer, names),
        "objective": svi.loss.state() if isinstance(svi.loss, Remembering) else {},
    }


def set_svi(svi: SVI, saved: Mapping[str, Any], names: Mapping[str, Tensor]) -> None:
    """Put back what `read_svi` returned, after a step has shown which parameters there are.

    Raises:
        ValueError: it is the state of another optimiser or objective.
    """
    optimizer = _optimizer(svi)
    if optimizer is not None and saved["optimizer"] is not None:
        set_optimizer(optimizer, saved["optimizer"], names)
    if isinstance(svi.loss, Remembering):
        now, before = svi.loss.state(), saved["objective"]
        if {k: v.shape for k, v in now.items()} != {k: v.shape for k, v in before.items()}:
            raise ValueError("the saved state of the objective is that of another objective")
        svi.loss.load_state(dict(before))


def compiled_kinds(svi: SVI) -> int:
    """For how many kinds of batches a step is compiled by now: such steps round in their own way."""
    return 0 if svi._capture is None else svi._capture.compiled


def _optimizer(svi: SVI) -> PyroOptim | Optimizer | None:
    made = svi.optim if svi.optimizer is None else svi.optimizer
    return made if isinstance(made, PyroOptim | Optimizer) else None
