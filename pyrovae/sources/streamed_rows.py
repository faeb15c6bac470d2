"""Rows that stay on the disk: asked for by number, as of a tensor, with a few blocks in memory."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.sources.block_cache import BlockCache
from pyrovae.sources.block_order import BlockOrder, Order, even_edges
from pyrovae.sources.dataset import check_values
from pyrovae.sources.forms import Form
from pyrovae.sources.row_files import RowFiles
from pyrovae.sources.seeds import generator_from

HASHED = 256  # rows, evenly spread, by which a change of the data is noticed


class StreamedRows:
    """Rows of files by number, less those that are held out: what a fit reads in place of a tensor (N, D).

    A block is read when a row of it is asked for, checked, and kept until room is needed for another. In the
    order of `order` a block is read once a pass, or twice where a batch lies in two windows.

    Args:
        files: where all rows are.
        held: sorted numbers of the rows that are left out.
        form: of the values; they are checked against it as they are read.
        memory: bytes of rows kept in memory at most, but for a block at least.
        block: bytes of a block: rows that are read at once.

    Example::

        rows = StreamedRows(open_rows("rows.npy"), held, Form("real"))
        rows[torch.tensor([5, 7])].shape  # (2, D)
    """

    ndim = 2

    def __init__(
        self,
        files: RowFiles,
        held: Tensor,
        form: Form,
        *,
        memory: int = 2**28,
        block: int = 2**20,
    ) -> None:
        self.files = files
        self.form = form
        self.held = held
        small = form.name != "real" and files.dtype in (bool, "uint8")
        self.dtype = torch.uint8 if small else torch.float32
        self.device = torch.device("cpu")
        whole = (len(files), prod(files.shape))
        self.shape = (whole[0] - len(held), whole[1])
        self.cache = BlockCache(self.stored, whole, self.dtype, block=block, memory=memory)
        edges = even_edges(len(files), self.cache.block_rows)
        self.edges = edges - torch.searchsorted(held, edges)
        self._skipped = held - torch.arange(len(held))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor) -> Tensor:
        """The rows of these numbers, (n, D)."""
        if not isinstance(index, Tensor):
            raise TypeError(
                "rows on a disk are had by their numbers alone: a guide with parameters for every row, "
                "divided among processes, needs data in memory"
            )
        index = index.cpu()
        rows = index + torch.searchsorted(self._skipped, index, right=True)
        return self.cache[rows].to(self.device)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The same, by the name that takes a half to a fifth of the time of brackets for rows in memory."""
        return self[index]

    def to(self, device: torch.device) -> StreamedRows:
        """The same rows and the same blocks in memory, handed out on another device."""
        there = copy.copy(self)
        there.device = device
        return there

    def order(self, seed: int, epoch: int) -> BlockOrder:
        """The order of a pass that reads a block at a time."""
        return BlockOrder(self.edges, self.cache.slots, seed=seed, epoch=epoch)

    def stored(self, start: int, stop: int) -> Tensor:
        """Rows by their numbers in the files, (n, D), as a data set stores them.

        Raises:
            ValueError: values that the form does not have, infinite ones or NaN.
            OSError: a file cannot be read.
        """
        kind = "uint8" if self.dtype is torch.uint8 else "float32"
        with np.errstate(over="ignore"):  # what becomes infinite is refused in a sentence
            values = torch.from_numpy(self.files.read(start, stop).astype(kind, copy=False))
        # A sum of sound values is as good as always finite, and quicker than a look at each.
        finite = bool(values.sum().isfinite())
        if not finite and bool(values.isnan().any()):
            row = start + int(values.isnan().any(1).nonzero()[0])
            raise ValueError(
                f"row {row} of the files holds NaN, and missing values are not streamed: replace them, or "
                "read what fits into memory as the data set Array with missing=True"
            )
        if self.form.name != "real" or not finite:
            check_values(values, self.form, False, f"rows {start} to {stop - 1} of the files")
        # Nothing is drawn here: the one binarisation that would be is refused.
        return self.form.store(values, generator_from(0))

    def check_all(self) -> None:
        """Read every value once.

        Raises:
            ValueError: as `stored`.
        """
        step = self.cache.block_rows
        for start in range(0, len(self.files), step):
            self.stored(start, min(start + step, len(self.files)))

    def fingerprint(self) -> str:
        """A short text that differs where shape, order or values do, by a look at some places."""
        digest, count = hashlib.sha256(), len(self.files)
        for row in torch.linspace(0, count - 1, min(HASHED, count), dtype=torch.float64).long():
            digest.update(self.files.read(int(row), int(row) + 1).tobytes())
        digest.update(self.held.numpy().tobytes())
        shape = " x ".join(map(str, self.shape))
        blocks = f"{self.cache.slots} blocks of {self.cache.block_rows} rows"
        return f"{shape} {self.files.dtype} in files, {blocks} at a time, {digest.hexdigest()[:8]}"


def own_orders(rows: Any) -> Callable[[int, int], Order] | None:
    """The orders that rows on a disk are to be read in; None for a tensor, of which any will do."""
    return rows.order if isinstance(rows, StreamedRows) else None
