"""From gradients to new parameters: any torch or Pyro optimizer, and a short way for Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer

from pyrovae.distributed.gradients import Dense, Rows
from pyrovae.step.adam import ADAMS, AdamGroup, adam_groups, choose_fused, fused_adam
from pyrovae.step.row_tables import RowAdam


class Update:
    """Applies an optimizer to gradients that are not in ``.grad``.

    Adam and AdamW that leave the choice of kernel open get the fused one, for all parameters at once,
    without the bookkeeping of ``Optimizer.step``; the optimizer's own state is what it works on. Tables
    with a row for every datapoint get Adam by rows. Any other optimizer is called as ever.

    Args:
        optim: the optimizer.
        clip_norm: the largest norm of all gradients together, or None.
        share: makes the gradients of this process those of all, if there are several.
    """

    def __init__(
        self,
        optim: PyroOptim | Optimizer,
        clip_norm: float | None = None,
        share: Share | None = None,
    ) -> None:
        self.optim = optim
        self.clip_norm = clip_norm
        self.share = share
        self._prepared: set[int] = set()
        self.by_rows: dict[Tensor, RowAdam] = {}

    def tables(self, candidates: Sequence[Tensor]) -> list[Tensor]:
        """Those tables that can be moved by rows, which from now on they are."""
        for table in candidates:
            if table not in self.by_rows and RowAdam.takes(table, self.optim):
                self.by_rows[table] = RowAdam(table, self.optim)
        return list(self.by_rows)

    def __call__(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
        """Take a step; a parameter whose gradient is None stays where it is.

        Args:
            parameters: all of them.
            gradients: of each, and then row numbers and gradients of each table.
        """
        dense, rows = split(parameters, gradients, list(self.by_rows))
        norm = None
        if self.share is not None:
            dense, rows, norm = self.share(dense, rows)
        if self.clip_norm is not None:
            dense, rows = clipped(dense, rows, self.clip_norm, norm)
        dense = laid_out(dense)
        for table, (index, gradient) in rows.items():
            self.by_rows[table](index, gradient)
            self.noticed()
        if not dense:
            return
        groups = self.groups(list(dense))
        if groups is None:
            self._step(dense)
        else:
            fused_adam(groups, dense)
            self.noticed()

    def groups(self, parameters: list[Tensor], *, begin: bool = False) -> list[AdamGroup] | None:
        """What the fused Adam works on; None if these parameters have another optimizer.

        Args:
            parameters: some of them.
            begin: make what Adam remembers of them, if that was not yet done.
        """
        optimizers = self._optimizers(parameters)
        return adam_groups(optimizers, parameters, begin=begin) if optimizers else None

    def settings(self) -> list[Any]:
        """What changes when someone changes Adam's settings: looked at before every compiled step."""
        return [now for optimizer in self._adams() for now in _settings(optimizer)]

    def works_on(self) -> Iterator[Any]:
        """The objects that Adams work on, and None: looked at before every compiled step.

        They are the parameters and what is remembered of them; either may be replaced by another tensor.
        """
        parts: list[Any] = []
        for optimizer in self._adams():
            parts += map(_parameters, optimizer.param_groups)
            parts += map(dict.values, optimizer.state.values())
        return chain(*parts, (None,))

    def _adams(self) -> list[Any]:
        if isinstance(self.optim, Optimizer):
            return [self.optim] if type(self.optim) in ADAMS else []
        return [made for made in self.optim.optim_objs.values() if type(made) in ADAMS]

    def noticed(self) -> None:
        """Let schedulers see that a step was taken."""
        if isinstance(self.optim, Optimizer):
            self.optim._opt_called = True  # type: ignore[attr-defined]

    def _step(self, gradients: dict[Tensor, Tensor]) -> None:
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        if isinstance(self.optim, PyroOptim):
            self.optim(list(gradients))
        else:
            self.optim.step()
        for parameter in gradients:
            parameter.grad = None

    def _optimizers(self, parameters: list[Tensor]) -> list[Any]:
        """The torch optimizers at work; none where Pyro has not made them yet, clips, or wraps them."""
        if isinstance(self.optim, Optimizer):
            found = [self.optim]
        else:
            made, clip = self.optim.optim_objs, self.optim.grad_clip
            if not all(p in made and clip[p] is None for p in parameters):
                return []
            found = [made[p] for p in parameters]
        for optimizer in found:
            if id(optimizer) not in self._prepared:
                self._prepared.add(id(optimizer))
                choose_fused(optimizer)
        return found


_parameters = itemgetter("params")
_chosen = itemgetter("lr", "betas", "eps", "weight_decay", "maximize", "amsgrad", "fused")


def _settings(optimizer: Any) -> list[Any]:
    hooks = len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)
    return [hooks, *map(_chosen, optimizer.param_groups)]


# From gradients to gradients, and the norm of those of all processes.
Share = Callable[[Dense, Rows], tuple[Dense, Rows, Tensor]]


def split(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor | None], tables: Sequence[Tensor]
) -> tuple[Dense, Rows]:
    """Sort gradients: those of whole parameters, and of tables the row numbers (None is all) and rows."""
    dense = {p: g for p, g in zip(parameters, gradients, strict=False) if g is not None}
    rows: Rows = {}
    pairs = gradients[len(parameters) :]
    for table, index, gradient in zip(tables, pairs[::2], pairs[1::2], strict=True):
        whole = dense.pop(table, None)
        if gradient is None or index is None:
            if whole is not None:
                rows[table] = (None, whole)
        elif whole is None:
            rows[table] = (index, gradient)
        else:
            rows[table] = (None, whole.index_add(0, index, gradient))
    return dense, rows


def laid_out(gradients: Dense) -> Dense:
    """Gradients that lie in memory as their parameters do: fused optimizers walk through both as one.

    Example:
        >>> parameter, gradient = torch.zeros(2, 3), torch.ones(()).expand(2, 3)
        >>> gradient.stride(), laid_out({parameter: gradient})[parameter].stride()
        ((0, 0), (3, 1))
    """
    return {
        p: g if g.is_sparse or g.stride() == p.stride() else torch.empty_like(p).copy_(g)
        for p, g in gradients.items()
    }


def clipped(
    dense: Dense, rows: Rows, largest: float, norm: Tensor | None = None
) -> tuple[Dense, Rows]:
    """Gradients scaled down together so that their norm is at most ``largest``.

    ``norm`` is that of all of them, where other processes hold some.

    Example:
        >>> gradients = {torch.zeros(1): torch.tensor([3.0]), torch.zeros(1): torch.tensor([4.0])}
        >>> list(clipped(gradients, {}, 1.0)[0].values())
        [tensor([0.6000]), tensor([0.8000])]
    """
    parts = [*dense.values(), *(gradient for _, gradient in rows.values())]
    if not parts:
        return dense, rows
    if norm is None:
        norm = torch.stack([part.norm() for part in parts]).norm()
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    return (
        {parameter: gradient * factor for parameter, gradient in dense.items()},
        {table: (index, gradient * factor) for table, (index, gradient) in rows.items()},
    )
