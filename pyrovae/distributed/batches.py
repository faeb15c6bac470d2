"""Which rows each process sees: its part of a batch that all know, or batches of rows that it owns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from pyrovae.distributed.group import Group
from pyrovae.sources.batches import Batches
from pyrovae.sources.seeds import generator_from


def own_part(group: Group, index: Tensor) -> tuple[Tensor, float]:
    """The rows of a batch that fall to this process, and their share of the batch.

    A process for which none are left takes a row that counts nothing, since all must take the step.

    Example:
        >>> own_part(Group(1, 2), torch.tensor([7, 8, 9]))
        (tensor([8]), 0.3333333333333333)
    """
    own = index[group.rank :: group.ranks]
    return (own, len(own) / len(index)) if len(own) else (index[:1], 0.0)


class OwnBatches:
    """Passes over a block of rows that belongs to this process, in as many steps as all others take.

    The order of a block depends on the seed, the pass, and the number of the process of so many. If a
    pass is taken up by another number of processes, what is left of it is divided anew among them: a
    pass is made of legs, each with a number of processes and the step before which it ended, and the
    rows that they took are known from these numbers alone. No row is left out, and none comes twice.

    Args:
        rows: N, of all processes together.
        batch_size: B, of all processes together, at most.
        group: of processes.
        seed: of the order.

    Raises:
        ValueError: there are fewer rows than processes.

    Example:
        >>> [index.tolist() for index in OwnBatches(5, 2, Group(1, 2), seed=0)]
        [[2], [0], [1]]
    """

    def __init__(self, rows: int, batch_size: int, group: Group, *, seed: int = 0) -> None:
        if rows < group.ranks:
            raise ValueError(
                f"{rows} rows cannot be divided among {group.ranks} processes, each with rows of its own: "
                f"start at most {rows}"
            )
        self.rows = rows
        self.group = group
        self.seed = seed
        self._steps = self.size = -(-rows // batch_size)  # in a pass, and in the present one
        self.batch_size = -(-rows // self.size)
        self.epoch = 0
        self.position = 0  # steps of this pass already handed out
        self.legs: list[list[int]] = []
        self.share = 1.0  # of the batch last handed out that is this process's

    def __len__(self) -> int:
        """Steps in the present pass: one that was begun with batches of another size ends with them."""
        return self.size

    def __iter__(self) -> Iterator[Tensor]:
        """What is left of the current pass: numbers of rows within the block, a batch at a time."""
        seen, done = self._seen()
        steps = max(self.size - done, 1)
        counts = self._counts(seen, self.group.ranks)
        own = self._dealt(seen, len(self.legs), self.group, counts, steps)
        least, more = divmod(sum(counts), steps)
        start = self.group.block(self.rows)[0]
        while self.position < self.size:
            at, self.position = self.position - done, self.position + 1
            self.share = len(own[at]) / (least + (at < more))
            yield own[at] - start if len(own[at]) else torch.zeros(1, dtype=torch.int64)
        self.epoch, self.position, self.legs, self.size = self.epoch + 1, 0, [], self._steps

    def generator(self) -> torch.Generator:
        """A generator for the noise of the batch last handed out."""
        return generator_from(self.seed, self.epoch, self.position + 1)

    def state_dict(self) -> dict[str, Any]:
        """Where training is, for a checkpoint."""
        here = {name: getattr(self, name) for name in ("size", "rows", "seed", "epoch", "position")}
        return here | {"ranks": self.group.ranks, "legs": [list(leg) for leg in self.legs]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, of any number of processes, or from that of a `Batches`.

        Raises:
            ValueError: it belongs to another number of rows, or is no such state.
        """
        whole = Batches(self.rows, self.batch_size)
        numbers = {k: v for k, v in state.items() if k != "legs"}
        whole.load_state_dict(numbers | {"size": state.get("rows", state.get("size"))})
        ranks, legs = state.get("ranks", 0), state.get("legs", [])
        position = whole.position if "legs" in state else -(-whole.position // self.batch_size)
        ends = [leg[1] for leg in legs if _is_leg(leg)] if isinstance(legs, list) else []
        if len(ends) < len(legs) or type(ranks) is not int or not 0 <= ranks <= self.rows:
            raise ValueError("the saved position in the data is not one: its legs are not legs")
        size = state.get("size") if "legs" in state and position else self._steps
        if type(size) is not int or not 0 < size <= self.rows:
            raise ValueError(
                f"the saved position in the data is not one: its pass has {size} steps"
            )
        if [*ends, position] != sorted([*ends, position]) or position > size:
            raise ValueError("the saved position in the data lies behind its end")
        self.seed, self.epoch, self.position = whole.seed, whole.epoch, position
        self.size, self.legs = size, [list(leg) for leg in legs]
        if ranks != self.group.ranks and position > (ends[-1] if ends else 0):
            self.legs.append([ranks, position])

    def _seen(self) -> tuple[Tensor | None, int]:
        """(N,) which rows earlier legs of the pass took, None if there were none; and in how many steps."""
        if not self.legs:
            return None, 0
        seen, done = torch.zeros(self.rows, dtype=torch.bool), 0
        for number, (ranks, until) in enumerate(self.legs):
            if ranks == 0:
                order = Batches(self.rows, self.batch_size, seed=self.seed).order(self.epoch)
                seen[order[: until * self.batch_size]] = True
            counts = self._counts(seen, ranks)
            for rank in range(ranks):
                group = Group(rank, ranks)
                parts = self._dealt(seen, number, group, counts, self.size - done)
                seen[torch.cat(parts[: until - done])] = True
            done = until
        return seen, done

    def _counts(self, seen: Tensor | None, ranks: int) -> list[int]:
        """How many rows of each of so many blocks are not seen yet."""
        blocks = [Group(rank, ranks).block(self.rows) for rank in range(ranks)]
        if seen is None:
            return [stop - start for start, stop in blocks]
        return [int((~seen[start:stop]).sum()) for start, stop in blocks]

    def _dealt(
        self, seen: Tensor | None, leg: int, group: Group, counts: list[int], steps: int
    ) -> tuple[Tensor, ...]:
        """What is left of a process's rows, a part for every step.

        Where a process has one row more than in other steps, the one before it has none, so that the
        rows of all together are as equal as they can be, and no step is without.
        """
        least, more = divmod(counts[group.rank], steps)
        first = sum(count % steps for count in counts[: group.rank])
        sizes = [least + ((at - first) % steps < more) for at in range(steps)]
        return self._order(seen, leg, group).split(sizes)

    def _order(self, seen: Tensor | None, leg: int, group: Group) -> Tensor:
        """The rows of a process's block that are not seen yet, in the order of a leg."""
        start, stop = group.block(self.rows)
        left = torch.arange(start, stop)
        if seen is not None:
            left = left[~seen[start:stop]]
        generator = generator_from(self.seed, self.epoch, leg, group.rank, group.ranks)
        return left[torch.randperm(len(left), generator=generator)]


def _is_leg(leg: Any) -> bool:
    return isinstance(leg, list) and len(leg) == 2 and all(type(n) is int and n >= 0 for n in leg)
