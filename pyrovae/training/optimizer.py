"""The optimiser of a fit and its schedule, from what the caller gave."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pyrovae import checkpoint
from pyrovae.programs import Program
from pyrovae.step.row_tables import row_tables
from pyrovae.training.feed import modules

OUTSIDE = (
    "{what} is not in modules, and an optimiser of torch trains those alone here: make it a PyroParam of a "
    "PyroModule, or give one of Pyro's, such as optim=pyro.optim.Adam({{'lr': 1e-3}})"
)
MakeOptimizer = Callable[[Iterable[Any]], Optimizer]


def make_optimizer(
    model: Program,
    guide: Program,
    optim: PyroOptim | Optimizer | MakeOptimizer | None,
    row_lr: float | None,
) -> tuple[dict[str, Tensor], PyroOptim | Optimizer]:
    """The tensors that are trained, by name, and what trains them."""
    programs = modules(model=model, guide=guide)
    for program in programs.values():
        program.train()
    state = checkpoint.parameters(**programs)
    if isinstance(optim, PyroOptim | Optimizer):
        if row_lr is not None:
            raise TypeError(
                "row_lr goes with a function that makes the optimiser; this one is made"
            )
        return state, optim
    make = functools.partial(torch.optim.Adam, lr=1e-3) if optim is None else optim
    trained = [tensor for tensor in state.values() if tensor.requires_grad]
    if not trained:
        raise ValueError(OUTSIDE.format(what="what model and guide have to train"))
    return state, make(trained if row_lr is None else _rows_apart(trained, model, guide, row_lr))


def _rows_apart(
    trained: list[Tensor], model: Program, guide: Program, row_lr: float
) -> list[dict[str, Any]]:
    """Groups for an optimiser: what all rows share, and what belongs to single ones, without decay."""
    if not 0 < row_lr < math.inf:
        raise ValueError(f"row_lr must be above 0 and finite; got {row_lr!r}")
    tables = row_tables(model, guide)
    if not tables:
        raise TypeError(
            "row_lr is for programs with parameters for every row, such as the guide PerDatapoint: neither "
            "the model nor the guide here has any"
        )
    mine = {id(table) for table in tables}
    shared = {"params": [tensor for tensor in trained if id(tensor) not in mine]}
    rows = {"params": tables, "lr": row_lr, "weight_decay": 0.0}
    return [shared, rows] if shared["params"] else [rows]


def next_rate(scheduler: LRScheduler | None, train_bound: float, validation_bound: float) -> None:
    """Move the learning rate on; one that waits for a plateau looks at minus the bound."""
    if isinstance(scheduler, ReduceLROnPlateau):
        seen = validation_bound if math.isfinite(validation_bound) else train_bound
        scheduler.step(-seen)
    elif scheduler is not None:
        scheduler.step()


def make_schedule(
    scheduler: Callable[[Optimizer], LRScheduler], optimizer: PyroOptim | Optimizer
) -> LRScheduler:
    """The learning-rate schedule of an optimiser of torch."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError("scheduler goes with an optimiser of torch.optim; Pyro's have their own")
    return scheduler(optimizer)
