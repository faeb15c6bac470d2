"""A fit as one of several processes: which rows are its own, what it draws, and what all agree on."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checkpoint import parameters
from pyrovae.distributed.batches import OwnBatches, own_part
from pyrovae.distributed.gradients import SharedGradients
from pyrovae.distributed.group import Group
from pyrovae.distributed.shards import Shards
from pyrovae.programs import Program
from pyrovae.sources.batches import Batches
from pyrovae.sources.block_order import InOrder
from pyrovae.sources.seeds import generator_from
from pyrovae.sources.streamed_rows import own_orders
from pyrovae.step.row_tables import row_tables
from pyrovae.training.feed import Data, Feed, feed, modules
from pyrovae.training.fit_state import FitState
from pyrovae.training.interrupts import Interrupts
from pyrovae.training.setting import fingerprint


@dataclass(frozen=True)
class BlockFeed(Feed):
    """The rows of one block, numbered from 0, of a data set of ``whole`` rows."""

    whole: int = 0

    @property
    def rows(self) -> int:
        """N, of the data set: by it the plate is scaled."""
        return self.whole


@dataclass
class Processes:
    """What one of several processes does in a fit otherwise than one alone.

    Args:
        group: of processes.
        tables: names of the parameters that are divided by rows.
        rows: N.
        shared: of the gradients; None for one alone.
        known: what a setting says otherwise than of one alone with rows in random order.
    """

    group: Group
    tables: list[str]
    rows: int
    shared: SharedGradients | None
    known: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def divide(
        cls, group: Group, data: Data, validation: Any, model: Program, guide: Program
    ) -> tuple[Processes, Feed]:
        """Check data and programs, as `feed` does, and cut away the rows that others own.

        A guide without tables sees all rows, in batches that are divided; all begin alike.
        """
        tables = row_tables(model, guide)
        names = divided(model, guide)
        source = feed(data, validation, model, guide)
        if not group.many:
            return cls(group, names, source.rows, None), source
        rows, known = source.rows, {"data": fingerprint(source.stored)}
        named = parameters(**modules(model=model, guide=guide))
        shapes = {k: (t.dtype, *t.shape) for k, t in named.items() if k not in names}
        group.agree(known | shapes)
        if tables:
            OwnBatches(rows, rows, group)  # refuses fewer rows than processes
            source = _block(group, source)
            _cut(group, tables, rows)
        group.alike(tensor for name, tensor in named.items() if name not in names)
        return cls(group, names, rows, SharedGradients(group, tables), known), source

    @property
    def shards(self) -> Shards:
        """How checkpoints are written and read."""
        return Shards(self.group, self.tables, self.rows)

    def batches(
        self, source: Feed, batch_size: int, seed: int, shuffle: bool
    ) -> Batches | OwnBatches:
        """Passes over the rows: the same for all, or over those that are owned here."""
        if not isinstance(shuffle, bool):
            raise ValueError(f"shuffle must be True or False; got {shuffle!r}")
        if not shuffle:
            self.known["shuffle"] = False
        if self.tables and self.group.many:
            if not shuffle:
                raise TypeError(
                    "shuffle=False goes with one process, or with a guide without parameters for every row: "
                    "processes that own rows take them in an order of their own"
                )
            return OwnBatches(self.rows, batch_size, self.group, seed=seed)
        orders = own_orders(source.stored) if shuffle else lambda *_: InOrder(self.rows)
        return Batches(self.rows, batch_size, seed=seed, orders=orders)

    def batches_for(self, saved: Any, here: Batches | OwnBatches) -> Batches | OwnBatches:
        """What goes on from a saved position, which may be one of several processes."""
        divided = isinstance(saved, dict) and "legs" in saved
        if divided and isinstance(here, Batches):
            return OwnBatches(self.rows, here.batch_size, self.group, seed=here.seed)
        return here

    def turn(
        self, state: FitState, source: Feed, index: Tensor
    ) -> tuple[Tensor, torch.Generator, bool]:
        """The rows of a batch that are this process's, a generator of their noise, and whether they count.

        All that is drawn in the step depends on the seed, the place in the data, and which of how many
        processes this is: no state of a generator has to outlive a step.
        """
        batches = state.batches
        if self.shared is None:
            return index, batches.generator(), True
        if isinstance(batches, OwnBatches):
            own, share = index, batches.share
        else:
            own, share = own_part(self.group, index)
        self.shared.weight = share if "size" in source.extras else float(share > 0)
        place = (batches.seed, batches.epoch, batches.position, self.group.rank, self.group.ranks)
        torch.manual_seed(generator_from(*place, 0).initial_seed())
        return own, generator_from(*place, 1), share > 0

    def say(self, interrupts: Interrupts, due: Callable[[], bool]) -> None:
        """Tell the others, with the gradients, of a signal that came here, and of the clock of the first."""
        if self.shared is not None:
            stop = interrupts.received is not None
            self.shared.says = [float(stop), float(self.group.leads and due())]

    def hear(self, interrupts: Interrupts, due: Callable[[], bool]) -> bool:
        """Whether all stop or write a checkpoint now."""
        if self.shared is None:
            return interrupts.received is not None or due()
        stop, due_there = self.shared.heard or (0.0, 0.0)
        if stop and interrupts.received is None:
            interrupts.received = signal.SIGTERM
        return stop > 0 or due_there > 0

    def begin(self, state: FitState) -> None:
        """Draw apart from the others where the fit begins or goes on; the sum of losses is the first's."""
        if self.shared is None:
            return
        if not self.group.leads:
            state.total.zero_()
        place = (state.batches.seed, state.steps, self.group.rank, self.group.ranks)
        seed = generator_from(*place).initial_seed()
        np.random.set_state(np.random.RandomState(seed % 2**32).get_state())
        random.setstate(random.Random(seed).getstate())

    def count(self, trained: dict[str, Tensor]) -> int:
        """Trained numbers in all processes, what they have alike counted once."""
        own = sum(tensor.numel() for name, tensor in trained.items() if name in self.tables)
        rest = sum(tensor.numel() for name, tensor in trained.items() if name not in self.tables)
        return rest + round(self.group.total(float(own)))


def divided(model: Program, guide: Program) -> list[str]:
    """The names, as in a checkpoint, of the parameters that have a row for every datapoint."""
    held = {id(table) for table in row_tables(model, guide)}
    named = parameters(**modules(model=model, guide=guide))
    return [name for name, tensor in named.items() if id(tensor) in held]


def _block(group: Group, whole: Feed) -> BlockFeed:
    """The part of a feed that belongs to the rows owned here."""
    start, stop = group.block(whole.rows)
    values = {part.name: getattr(whole, part.name) for part in fields(Feed)}
    values["stored"] = whole.stored[start:stop]
    if whole.device.type != "cpu":
        values["stored"] = values["stored"].clone()  # the others' rows give back their memory
    if whole.incomplete is not None:
        values["incomplete"] = whole.incomplete[start:stop]
    return BlockFeed(**values, whole=whole.rows)


def _cut(group: Group, tables: list[Any], rows: int) -> None:
    """Leave of each table the rows owned here; the memory of the others is given back."""
    start, stop = group.block(rows)
    for table in tables:
        if len(table) == stop - start:
            continue  # cut by an earlier fit
        if len(table) != rows:
            raise ValueError(
                f"a table of the guide has {len(table)} rows, the data {rows}: make the guide with "
                f"size={rows}, the rows of all processes together"
            )
        table.data = table.data[start:stop].clone()
