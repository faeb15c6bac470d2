"""Parameters with a row for every datapoint, of which a step touches the rows of its batch alone.

A guide names them in an attribute ``row_tables``. The gradient of such a table is dense where autograd
makes it: N rows of zeros but for the batch. Here a program that takes rows, ``table[index]``, is given a
leaf of B rows in their place, so that gradient and update cost what B rows cost, whatever N.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pyrovae.programs import Program, modules_of
from pyrovae.step.adam import ADAMS


def row_tables(*programs: Program) -> list[nn.Parameter]:
    """The tables that the modules of some programs name in ``row_tables``."""
    return [
        getattr(part, name)
        for module in modules_of(*programs)
        for part in module.modules()
        for name in getattr(part, "row_tables", ())
    ]


class RowsTaken(TorchFunctionMode):
    """Hands out a leaf wherever a program takes rows of a table by their numbers, and keeps both.

    Any other use of a table is left alone: its gradient is the dense one.
    """

    def __init__(self, tables: Iterable[Tensor]) -> None:
        super().__init__()
        self.tables = {id(table): table for table in tables}
        self.taken: dict[int, list[tuple[Tensor, Tensor]]] = {key: [] for key in self.tables}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__getitem__ and id(args[0]) in self.tables and _is_index(args[1]):
            table, index = args
            index = torch.where(index < 0, index + len(table), index)
            leaf = table.detach().index_select(0, index).requires_grad_(table.requires_grad)
            self.taken[id(table)].append((index, leaf))
            return leaf
        return func(*args, **(kwargs or {}))

    def leaves(self) -> list[Tensor]:
        """All leaves handed out that need a gradient."""
        return [leaf for uses in self.taken.values() for _, leaf in uses if leaf.requires_grad]

    def gradients(self, of_leaves: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Row numbers and gradients of every table in turn, given the gradients of all leaves."""
        rest = iter(of_leaves)
        result: list[Tensor | None] = []
        for uses in self.taken.values():
            found = [
                (i, g) for (i, leaf) in uses if leaf.requires_grad and (g := next(rest)) is not None
            ]
            if found:
                index, gradient = (torch.cat(parts) for parts in zip(*found, strict=True))
                result += [index, gradient]
            else:
                result += [None, None]
        return result


def _is_index(key: Any) -> bool:
    return isinstance(key, Tensor) and key.dim() == 1 and key.dtype == torch.int64


class Memory(NamedTuple):
    """What Adam remembers of a table: for each of its N rows."""

    average: Tensor  # (N, ...)
    square: Tensor  # (N, ...)
    steps: Tensor  # (N,), how often the row was in a batch
    places: Tensor  # (N,), which row of the batch it was; scratch, never read before it is written


class Settings(NamedTuple):
    """The settings of Adam."""

    lr: Any
    betas: tuple[Any, Any]
    eps: Any


class RowAdam:
    """Adam for a table by rows: each row has a clock of its own, which ticks when it is in the batch.

    A row moves as if an Adam of its own had been run at just the steps that had it in their batch. Dense
    Adam would go on moving rows that are not in the batch, by what it remembers of their gradients.

    Args:
        table: (N, ...), the parameter.
        optimizer: an Adam over it, for the settings; its state is where the memory is kept.
    """

    def __init__(self, table: Tensor, optimizer: Any) -> None:
        self.table = table
        self.optimizer = optimizer
        self.places = torch.empty(len(table), dtype=torch.int64, device=table.device)

    @staticmethod
    def takes(table: Tensor, optimizer: Any) -> bool:
        """Whether an optimizer is an Adam over this table whose rows are independent of each other."""
        if type(optimizer) not in ADAMS:
            return False
        if table._backward_hooks or table._post_accumulate_grad_hooks:
            return False  # they are to see the gradient of the whole table
        return any(
            any(p is table for p in group["params"])
            and not (group["weight_decay"] or group["amsgrad"] or isinstance(group["lr"], Tensor))
            for group in optimizer.param_groups
        )

    @property
    def settings(self) -> Settings:
        """As they are now; a loaded state comes with other groups."""
        (group,) = [
            group
            for group in self.optimizer.param_groups
            if any(p is self.table for p in group["params"])
        ]
        return Settings(group["lr"], group["betas"], group["eps"])

    @property
    def memory(self) -> Memory:
        """Made when it is first needed."""
        state = self.optimizer.state[self.table]
        if not state:
            state["step"] = torch.zeros(len(self.table), device=self.table.device)
            state["exp_avg"] = torch.zeros_like(self.table, requires_grad=False)
            state["exp_avg_sq"] = torch.zeros_like(self.table, requires_grad=False)
        return Memory(state["exp_avg"], state["exp_avg_sq"], state["step"], self.places)

    @torch.no_grad()
    def __call__(self, index: Tensor | None, gradient: Tensor) -> None:
        """Move the rows ``index``, or all of them."""
        update_rows(self.table, index, gradient, self.memory, self.settings)


def update_rows(
    table: Tensor,
    index: Tensor | None,
    gradient: Tensor,
    memory: Memory,
    settings: Settings,
    applied: Tensor | None = None,
) -> None:
    """One step of Adam for some rows, in plain operations, in place.

    Rows are taken by ``index_select``, which in a large table takes a half to a quarter of what brackets do.

    Args:
        table: (N, ...).
        index: (B,) which rows, from 0, with repetitions or without; None for all rows in their order.
        gradient: (B, ...), the gradient of each; those of one row are added up.
        memory: of the table.
        settings: of Adam.
        applied: (), whether to; everything stays as it is if not.
    """
    kept = [table.detach(), memory.average, memory.square, memory.steps]
    here = kept
    if index is not None:
        # All repetitions of a row find the same place, and there the sum of their gradients.
        memory.places.index_copy_(0, index, torch.arange(len(index), device=index.device))
        place = memory.places.index_select(0, index)
        gradient = torch.zeros_like(gradient).index_add(0, place, gradient).index_select(0, place)
        here = [tensor.index_select(0, index) for tensor in kept]
    rows, average, square, steps = here
    moved = _moved(rows, gradient, average, square, steps, settings)
    for tensor, old, new in zip(kept, here, moved, strict=True):
        values = new if applied is None else torch.where(applied, new, old)
        if index is None:
            tensor.copy_(values)
        else:
            tensor.index_copy_(0, index, values)


def _moved(
    rows: Tensor,
    gradient: Tensor,
    average: Tensor,
    square: Tensor,
    steps: Tensor,
    settings: Settings,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    beta1, beta2 = settings.betas
    steps = steps + 1
    time = steps.double().reshape(-1, *[1] * (rows.dim() - 1))
    size = (settings.lr / (1 - beta1**time)).to(rows.dtype)
    root = (1 - beta2**time).sqrt().to(rows.dtype)
    average = average + (1 - beta1) * (gradient - average)
    square = beta2 * square + (1 - beta2) * gradient * gradient
    return rows - size * average / (square.sqrt() / root + settings.eps), average, square, steps
