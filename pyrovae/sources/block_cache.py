"""Blocks of rows in memory: as many as there is room for, those longest unused giving way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class BlockCache:
    """Rows by number, of which a few blocks are kept.

    Args:
        read: the rows from one number to another, (n, D).
        shape: number of rows, and D.
        dtype: of the values.
        block: bytes of a block.
        memory: bytes of all blocks kept, but for one at least.

    Attributes:
        block_rows: rows in a block; the last may be smaller.
        blocks: how many there are.
        slots: how many are kept.

    >>> cache = BlockCache(
    ...     lambda i, j: torch.arange(i, j)[:, None], (9, 1), torch.int64, block=16, memory=32
    ... )
    >>> cache[torch.tensor([8, 0, 5])].T, cache.slots
    (tensor([[8, 0, 5]]), 2)
    """

    def __init__(
        self,
        read: Callable[[int, int], Tensor],
        shape: tuple[int, int],
        dtype: torch.dtype,
        *,
        block: int,
        memory: int,
    ) -> None:
        self.read = read
        self.rows, width = shape
        self.block_rows = max(1, min(block // (width * dtype.itemsize), self.rows))
        self.blocks = -(-self.rows // self.block_rows)
        size = self.block_rows * width * dtype.itemsize
        self.slots = max(1, min(self.blocks, memory // size))
        self._pool = torch.empty((self.slots * self.block_rows, width), dtype=dtype)
        self._slot_of = torch.full((self.blocks,), -1)
        self._block_in = torch.full((self.slots,), -1)
        self._used = torch.zeros(self.slots, dtype=torch.int64)
        self._clock = 0

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The rows of these numbers, (n, D)."""
        blocks = rows // self.block_rows
        different = blocks.unique()
        if len(different) <= self.slots:
            return self._gather(rows, blocks, different)
        # A part that has no more rows than there are slots lies in no more blocks.
        parts = zip(rows.split(self.slots), blocks.split(self.slots), strict=True)
        return torch.cat([self._gather(some, of, of.unique()) for some, of in parts])

    def _gather(self, rows: Tensor, blocks: Tensor, different: Tensor) -> Tensor:
        self._hold(different)
        places = self._slot_of[blocks] * self.block_rows + rows % self.block_rows
        return self._pool.index_select(0, places)

    def _hold(self, blocks: Tensor) -> None:
        """Have these blocks, no more than there are slots, in place of those that were longest unused."""
        self._clock += 1
        slots = self._slot_of[blocks]
        self._used[slots[slots >= 0]] = self._clock
        absent = blocks[slots < 0]
        free = self._used.argsort(stable=True)[: len(absent)] if len(absent) else absent
        for block, slot in zip(absent.tolist(), free.tolist(), strict=True):
            if self._block_in[slot] >= 0:
                self._slot_of[self._block_in[slot]] = -1
                self._block_in[slot] = -1
            start = block * self.block_rows
            read = self.read(start, min(start + self.block_rows, self.rows))
            self._pool[slot * self.block_rows :][: len(read)] = read
            self._slot_of[block], self._block_in[slot] = slot, block
            self._used[slot] = self._clock
