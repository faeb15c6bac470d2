"""Batches of row numbers: shuffled, reproducible, and resumable in the middle of a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from pyrovae.sources.block_order import Order
from pyrovae.sources.seeds import generator_from


class Batches:
    """Passes over `size` rows in random order, `batch_size` at a time.

    The order of a pass depends on the seed and the number of the pass only, so three whole numbers
    say where training is: a run taken up again sees the batches it would have seen.

    Args:
        size: N, number of rows.
        batch_size: B; the last batch of a pass may be smaller, and no row is left out.
        seed: of the order, and of `generator`.
        orders: the order of a pass by seed and number, where any will not do; by default all rows at random.

    Raises:
        ValueError: size or batch_size below 1.

    >>> batches = Batches(5, 2, seed=0)
    >>> [len(index) for index in batches]
    [2, 2, 1]
    >>> batches.epoch, batches.position
    (1, 0)
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int = 0,
        orders: Callable[[int, int], Order] | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"there must be at least one row, got {size}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.orders = orders
        self.epoch = 0
        self.position = 0  # rows of this pass already handed out

    def __len__(self) -> int:
        """Batches in a pass."""
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        """What is left of the current pass: (B,) long row numbers, one batch at a time.

        A batch counts as done when it has been handed out. After the last one, `epoch` is one
        more and `position` 0.
        """
        order = self.order(self.epoch)
        while self.position < self.size:
            start, self.position = self.position, min(self.position + self.batch_size, self.size)
            yield order[start : self.position]
        self.epoch, self.position = self.epoch + 1, 0

    def order(self, epoch: int) -> Order:
        """(N,) row numbers in the order of a pass."""
        if self.orders is not None:
            return self.orders(self.seed, epoch)
        return torch.randperm(self.size, generator=generator_from(self.seed, epoch, 0))

    def generator(self) -> torch.Generator:
        """A generator for the noise of the batch last handed out."""
        return generator_from(self.seed, self.epoch, self.position + 1)

    def state_dict(self) -> dict[str, int]:
        """Where training is, for a checkpoint."""
        return {name: getattr(self, name) for name in ("size", "seed", "epoch", "position")}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a `state_dict`.

        Raises:
            ValueError: it belongs to another number of rows, or is no such state.
        """
        numbers = [state.get(name) for name in ("size", "seed", "epoch", "position")]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(
                "the saved position in the data is not one: it takes whole numbers from 0"
            )
        if state["position"] > state["size"]:
            raise ValueError("the saved position in the data lies behind its end")
        if state["size"] != self.size:
            raise ValueError(
                f"the saved position is in a data set of {state['size']} rows, this one has "
                f"{self.size}; give the same data and split_seed, or start anew"
            )
        self.seed, self.epoch, self.position = state["seed"], state["epoch"], state["position"]
