"""The processes of one fit: which of them this is, and what they say to each other."""

from __future__ import annotations

import atexit
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from pyrovae.distributed.environment import processes, rank


class LostProcessError(ConnectionError):
    """Another process of the fit is gone, or cannot be reached."""


@dataclass
class Group:
    """The processes of one fit; every method but the properties is called by all of them, in the same order.

    Args:
        rank: which one this is, from 0.
        ranks: how many there are.
        seconds: spent in messages so far, waiting for the others included.
        bytes: handed to messages so far.

    Example:
        >>> Group().total(3.0), Group().any(False), Group().block(10)
        (3.0, False, (0, 10))
    """

    rank: int = 0
    ranks: int = 1
    seconds: float = 0.0
    bytes: int = 0

    @property
    def many(self) -> bool:
        """Whether there is more than one."""
        return self.ranks > 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that prints and writes."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place: the same bits for all.

        Raises:
            LostProcessError: one of them is gone.
        """
        if self.many:
            self._speak(partial(dist.all_reduce, tensor), tensor)
        return tensor

    def total(self, number: float) -> float:
        """The sum of a number over all processes."""
        return float(self.sum(torch.tensor(number, dtype=torch.float64))) if self.many else number

    def any(self, said: bool) -> bool:
        """Whether one of them says so; until all have answered, nobody goes on."""
        return self.total(float(said)) > 0

    @contextmanager
    def together(self, otherwise: Exception, *kinds: type[Exception]) -> Iterator[None]:
        """Fail in all of them if something fails in one, by an error of these kinds; there by that error.

        Args:
            otherwise: what the others raise.
            *kinds: any other kind is raised at once.
        """
        failed: Exception | None = None
        try:
            yield
        except kinds as error:
            failed = error
        if self.any(failed is not None):
            raise failed or otherwise

    def wait(self) -> None:
        """Wait until all are here."""
        self.any(False)

    def alike(self, tensors: Iterable[Tensor]) -> None:
        """Give all of them the numbers that the first has."""
        if self.many:
            for tensor in tensors:
                whole = tensor.detach().contiguous()
                self._speak(partial(dist.broadcast, whole, 0), whole)
                tensor.data.copy_(whole)

    def agree(self, said: Mapping[str, Any]) -> None:
        """Refuse what all must have alike and have not.

        Args:
            said: by this process, by name; compared as text.

        Raises:
            ValueError: for all of them; the sentence names what differs, and what the first said of it.
        """
        if not self.many:
            return
        mine = {name: str(value) for name, value in said.items()}
        content = torch.tensor(list(json.dumps(mine).encode()), dtype=torch.uint8)
        length = int(self.total(float(len(content) if self.leads else 0)))
        told = content if self.leads else content.new_empty(length)
        self._speak(partial(dist.broadcast, told, 0), told)
        first = json.loads(bytes(told.tolist()))
        # What the first knows nothing of counts as one.
        names, unknown = list(first), sorted(mine.keys() - first.keys())
        differs = torch.tensor([*(mine.get(k) != first[k] for k in names), bool(unknown)]).double()
        differing = [k for k, n in zip([*names, ""], self.sum(differs).tolist(), strict=True) if n]
        if differing:
            words = [f"{name}: {first[name]} in the first" for name in differing if name]
            words += [
                f"{name}: {mine.get(name, 'nothing')} in this one"
                for name in {**first, **mine}
                if mine.get(name) != first.get(name)
            ]
            raise ValueError(
                f"the {self.ranks} processes of a fit must have the same data and options, and in some of "
                f"them these differ: {'; '.join(words)}"
            )

    def block(self, rows: int) -> tuple[int, int]:
        """The first row that one of them owns, and the first behind it; blocks differ by one row at most."""
        return rows * self.rank // self.ranks, rows * (self.rank + 1) // self.ranks

    def _speak(self, message: Callable[[], Any], tensor: Tensor) -> None:
        began = time.perf_counter()
        try:
            message()
        except RuntimeError as error:
            raise LostProcessError(
                f"another of the {self.ranks} processes of this fit is gone: start the same command again, "
                "and it goes on from the last checkpoint"
            ) from error
        self.seconds += time.perf_counter() - began
        self.bytes += tensor.numel() * tensor.element_size()


def current() -> Group:
    """The processes that torchrun started together with this one, connected; otherwise this one alone.

    Gloo connects CPUs and NCCL GPUs, of which every process takes the one of its number. Together they are
    one and the same group for all fits, whose time in messages adds up.
    """
    return Group() if processes() == 1 else _connected()


@cache
def _connected() -> Group:
    if not dist.is_initialized():
        # Its default arguments are the group of that moment. Imported later, by torch's compiler, they would
        # keep the group beyond _leave, and a thread of it that lets go of a tensor while Python ends aborts.
        import torch.distributed.nn.functional

        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(_leave)
    return Group(rank(), processes())


def first_to_say(what: str) -> bool:
    """Whether this is the first process to say something, which one of them shall say once.

    It needs no other process to be alive, only torchrun.
    """
    try:
        store = dist.distributed_c10d._get_default_store()
        return int(store.add(f"pyrovae/{what}", 1)) == 1
    except (RuntimeError, ValueError):  # not connected yet, or torchrun is gone
        return rank() == 0


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
