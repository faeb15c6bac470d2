"""Files of tensors of which every process writes, and reads, the rows that it owns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrovae import checkpoint
from pyrovae.distributed.group import Group

Loaded = tuple[dict[str, Tensor], dict[str, Any]]


class Shards:
    """Writes and reads one state as one set of files, whatever the number of processes.

    ``NAME.safetensors`` holds what all processes have alike, ``rows-NAME-00001-of-00004.safetensors`` the
    rows of the second of four. The manifest of the first is written last, and names the others: the set
    is whole or not there. One process writes all rows into the one file.

    Args:
        group: of processes.
        tables: names of parameters that are divided by rows; what an optimiser remembers of them is too.
        rows: N, of all processes together.
    """

    def __init__(self, group: Group, tables: Collection[str] = (), rows: int = 0) -> None:
        self.group = group
        self.tables = list(tables)
        self.rows = rows

    def write(self, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Write a state; every process calls this, and none goes on before the set is whole.

        Raises:
            OSError: a file of the set could not be written.
        """
        group = self.group
        start, stop = group.block(self.rows)
        own = self._of_rows(tensors, stop - start) if group.many else {}
        if own:
            said = {"of": "rows", "rank": group.rank, "ranks": group.ranks, "rows": self.rows}
            self._together(lambda: checkpoint.save(_part(path, group.rank, group.ranks), own, said))
            metadata = {**metadata, "shards": {"ranks": group.ranks, "rows": self.rows}}
        rest = {name: tensor for name, tensor in tensors.items() if name not in own}
        self._together(lambda: checkpoint.save(path, rest, metadata), group.leads)

    def read(self, path: Path, most: int | None = None) -> Loaded:
        """Read a state that any number of processes wrote: all of what they share, and the rows owned here.

        Args:
            path: of the tensors that are shared.
            most: bytes that one file may have.

        Raises:
            ValueError: a file is missing or damaged; all processes raise if one of them does.
        """
        theirs = ValueError(f"another process could not read its rows of {path.stem}")
        with self.group.together(theirs, ValueError, OSError):
            found = self._read(path, most)
        return found

    def _read(self, path: Path, most: int | None) -> Loaded:
        tensors, metadata = checkpoint.load(path, most=most)
        shards = metadata.get("shards")
        start, stop = self.group.block(self.rows)
        if shards is None:
            for name, tensor in self._of_rows(tensors, self.rows).items():
                tensors[name] = tensor[start:stop].clone() if self.group.many else tensor
            return tensors, metadata
        ranks = shards.get("ranks") if isinstance(shards, dict) else None
        if not isinstance(ranks, int) or shards.get("rows") != self.rows or not self.tables:
            raise ValueError(f"{path} is divided by rows of other data, or of another guide.")
        pieces: dict[str, list[Tensor]] = {}
        for rank in range(ranks):
            first, last = Group(rank, ranks).block(self.rows)
            if first < stop and start < last:
                rows, _ = checkpoint.load(_part(path, rank, ranks), most=most)
                for name, tensor in self._of_rows(rows, last - first).items():
                    piece = tensor[max(start - first, 0) : stop - first].clone()
                    pieces.setdefault(name, []).append(piece)
        return tensors | {name: torch.cat(found) for name, found in pieces.items()}, metadata

    def _of_rows(self, tensors: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
        return {
            name: tensor
            for name, tensor in tensors.items()
            if tensor.dim() and len(tensor) == rows and self._is_of_table(name)
        }

    def _is_of_table(self, name: str) -> bool:
        return any(f".{table}." in f".{name}." for table in self.tables)

    def _together(self, write: Any, mine: bool = True) -> None:
        """Write if it is this process's turn, and fail if any of them does."""
        with self.group.together(
            OSError("another process could not write its part of it"), OSError
        ):
            if mine:
                write()


def remove(path: Path) -> None:
    """Remove a set of files: its manifest first, so that what is left of it is not taken for a whole."""
    path.with_suffix(".json").unlink(missing_ok=True)
    path.with_suffix(".safetensors").unlink(missing_ok=True)
    for part in path.parent.glob(f"rows-{path.stem}-*-of-*"):
        part.unlink(missing_ok=True)


def _part(path: Path, rank: int, ranks: int) -> Path:
    return path.with_name(f"rows-{path.stem}-{rank:05d}-of-{ranks:05d}.safetensors")
