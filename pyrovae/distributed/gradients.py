"""Gradients of all processes in one message a step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from pyrovae.distributed.group import Group

Dense = dict[Tensor, Tensor]
Rows = dict[Tensor, tuple[Tensor | None, Tensor]]


class SharedGradients:
    r"""Sums the gradients of the parameters that all processes share, each with its part of the batch.

    .. math:: g = \sum_r w_r \, g_r, \qquad w_r = B_r / B

    A process that sees B_r of the B rows of a batch scales them by N / B_r; the weighted sum is then the
    gradient of the whole batch, scaled by N / B. Rows of tables stay where they are; none moves where no
    row of the batch is left for a process. With the gradients travels what all must know before the next
    step: the norm of the rows' gradients, for clipping, and what each has to say.

    Args:
        group: of processes.
        tables: parameters of which every process holds its own rows.

    Attributes:
        weight: of this process, w_r, in the step to come.
        says: numbers of this process; ``heard`` is their sum over all after the step.

    Example:
        >>> shared, gradient = SharedGradients(Group(), []), torch.tensor([1.0, 2.0])
        >>> parameter = torch.zeros(2)
        >>> shared.weight, shared.says = 0.5, [0.0, 1.0]
        >>> dense, rows, _ = shared({parameter: gradient}, {})
        >>> dense[parameter], shared.heard
        (tensor([0.5000, 1.0000]), [0.0, 1.0])
    """

    def __init__(self, group: Group, tables: Iterable[Tensor]) -> None:
        self.group = group
        self.weight = 1.0
        self.says: list[float] = []
        self.heard: list[float] = []
        self._tables = {id(table) for table in tables}
        self._flat: Tensor | None = None

    @torch.no_grad()
    def __call__(self, dense: Dense, rows: Rows) -> tuple[Dense, Rows, Tensor]:
        """The gradients of the whole batch, and the norm of those of all: the same bits for all."""
        mine = {p: g * self.weight for p, g in dense.items() if id(p) in self._tables}
        like = next(iter(dense.values())) if dense else next(iter(rows.values()))[1]
        # By a gradient of 0, Adam would move a row on as it moved before.
        rows = {
            table: (index, g * self.weight) for table, (index, g) in rows.items() if self.weight
        }
        shared = {p: g for p, g in dense.items() if id(p) not in self._tables}
        local = [*mine.values(), *(gradient for _, gradient in rows.values())]
        square = sum((g.square().sum() for g in local), like.new_zeros(()))
        said = torch.cat([square.reshape(1), like.new_tensor(self.says)])
        parts = [gradient.reshape(-1) for gradient in shared.values()]
        flat = self._joined([*parts, said])
        count = len(flat) - len(said)
        flat[:count] *= self.weight
        self.group.sum(flat)
        self.heard = flat[count + 1 :].tolist()
        sizes = [part.numel() for part in parts]
        found = flat[:count].split(sizes) if sizes else ()
        for (parameter, gradient), part in zip(shared.items(), found, strict=True):
            mine[parameter] = part.view(gradient.shape).to(gradient.dtype)
        return mine, rows, torch.stack([flat[:count].norm(), flat[count].sqrt()]).norm()

    def _joined(self, parts: list[Tensor]) -> Tensor:
        """All in one tensor, in the memory of the step before."""
        kinds = {part.dtype for part in parts}
        if len(kinds) > 1:
            parts = [part.double() for part in parts]
        size = sum(part.numel() for part in parts)
        if self._flat is None or (len(self._flat), self._flat.dtype) != (size, parts[0].dtype):
            self._flat = parts[0].new_empty(size)
        return torch.cat(parts, out=self._flat)
