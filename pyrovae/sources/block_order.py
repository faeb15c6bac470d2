"""Orders of a pass: as the rows come, or for rows on a disk, random and yet read a block at a time."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from pyrovae.sources.seeds import generator_from


class Order(Protocol):
    """Row numbers in the order of a pass, of which parts can be had; a tensor (N,) is one."""

    def __getitem__(self, part: slice, /) -> Tensor:
        """(n,) row numbers."""
        ...


class InOrder:
    """All row numbers once, from the first to the last, however many there are.

    Args:
        rows: N.

    >>> InOrder(5)[3:9]
    tensor([3, 4])
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __getitem__(self, part: slice, /) -> Tensor:
        """(n,) row numbers."""
        return torch.arange(*part.indices(self.rows))


class BlockOrder:
    """All row numbers once: blocks in random order, and rows at random among some blocks at a time.

    So many blocks as fit into memory, drawn from everywhere, make a window, and a batch comes from a window.
    With one window, rows are in random order without restriction. The order depends on the numbers given
    alone, and no more of it is made than one window.

    Args:
        edges: (M + 1,) number of the first row of each block; and N.
        together: blocks in a window.
        seed, epoch: of the order.

    >>> order = BlockOrder(torch.tensor([0, 4, 8, 10]), 2, seed=0, epoch=0)
    >>> sorted(order[0:10].tolist()) == list(range(10))
    True
    >>> bool((order[2:5] == order[0:10][2:5]).all())
    True
    """

    def __init__(self, edges: Tensor, together: int, *, seed: int, epoch: int) -> None:
        self.edges = edges
        self.key = (seed, epoch)
        blocks = torch.randperm(len(edges) - 1, generator=generator_from(seed, epoch, 0))
        self.windows = blocks.split(together)
        sizes = [int((edges[window + 1] - edges[window]).sum()) for window in self.windows]
        self.starts = torch.tensor([0, *sizes]).cumsum(0)
        self._made: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def __getitem__(self, part: slice, /) -> Tensor:
        """(n,) row numbers, from ``start`` to ``stop``."""
        start, stop, _ = part.indices(int(self.starts[-1]))
        first = int(torch.searchsorted(self.starts, start, right=True)) - 1
        found = [torch.empty(0, dtype=torch.int64)]
        while start < stop:
            begin, end = int(self.starts[first]), int(self.starts[first + 1])
            found.append(self._window(first)[start - begin : stop - begin])
            start, first = min(stop, end), first + 1
        return torch.cat(found)

    def _window(self, number: int) -> Tensor:
        if self._made[0] != number:
            parts = [torch.arange(*self.edges[b : b + 2].tolist()) for b in self.windows[number]]
            rows = torch.cat(parts)
            mixed = torch.randperm(len(rows), generator=generator_from(*self.key, 0, number))
            self._made = (number, rows[mixed])
        return self._made[1]


def even_edges(rows: int, block: int) -> Tensor:
    """Edges of blocks of so many rows each; the last may be smaller.

    >>> even_edges(10, 4)
    tensor([ 0,  4,  8, 10])
    """
    return torch.cat([torch.arange(0, rows, block), torch.tensor([rows])])
