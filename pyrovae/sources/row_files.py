"""Rows of numbers in files: which files, how many rows, and some of them read, never a whole file."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pyrovae.sources.dataset import checked_shape
from pyrovae.sources.folders import files_of


@dataclass(frozen=True)
class RowFile:
    """Rows that lie one after another in a file.

    Args:
        path: of the file.
        offset: bytes before the first row.
        rows: how many there are.
        shape: of one row.
        dtype: of a number.
        state: bytes of the file and when it was last written to, by which a change is noticed.
    """

    path: Path
    offset: int
    rows: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    state: tuple[int, int]

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return prod(self.shape) * self.dtype.itemsize

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows from ``start`` to ``stop``, (n, D).

        Raises:
            OSError: the file is no longer there, or was written to since its rows were found.
        """
        found = np.empty((stop - start, prod(self.shape)), self.dtype)
        # Not mapped: pages of a map that were looked at count as memory of this process.
        with self.path.open("rb", buffering=0) as file:
            if _state(os.fstat(file.fileno())) != self.state:
                raise OSError(
                    f"{self.path} was written to since it was opened, and rows of before and after would be "
                    "mixed: begin again, and leave the file as it is meanwhile"
                )
            file.seek(self.offset + start * self.row_bytes)
            left = found.reshape(-1).view(np.uint8).data
            while left:
                count = file.readinto(left)
                if not count:
                    raise OSError(
                        f"{self.path} ends before row {stop}: it became shorter while it was read"
                    )
                left = left[count:]
        return found


@dataclass(frozen=True)
class RowFiles:
    """Files of rows of one shape and one kind of number, one after another.

    Args:
        parts: the files, at least one.
    """

    parts: tuple[RowFile, ...]

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """The number of the row after the last one of each file."""
        return np.cumsum([part.rows for part in self.parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return self.parts[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a number."""
        return self.parts[0].dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows from ``start`` to ``stop``, (n, D), across files."""
        found = []
        number = int(np.searchsorted(self.ends, start, side="right"))
        while start < stop:
            part, end = self.parts[number], min(stop, int(self.ends[number]))
            begin = int(self.ends[number]) - part.rows
            found.append(part.read(start - begin, end - begin))
            start, number = end, number + 1
        return found[0] if len(found) == 1 else np.concatenate(found)


def open_rows(
    source: Any, *, shape: Sequence[int] | None = None, dtype: str | None = None
) -> RowFiles:
    """Find the rows of a file, a folder of files or a memory-mapped array; only headers are read.

    Args:
        source: a .npy file; a folder, whose .npy files are taken in the order of their names; a file of
            numbers without a header; or what ``numpy.load(path, mmap_mode="r")`` or ``numpy.memmap`` gave.
        shape: of one row, for a file without a header.
        dtype: of its numbers, such as ``float32`` or ``uint8``.

    Raises:
        FileNotFoundError: nothing at that path.
        TypeError: numbers of a kind that is not read; an option that does not apply, or one that lacks.
        ValueError: a file that is cut short or none of its kind, no rows, or files that differ in width.
    """
    if isinstance(source, np.memmap):
        return RowFiles((_mapped(source),))
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"rows are streamed from a path or a memory-mapped array, got {type(source).__name__}: for what "
            "is in memory there is the data set Array"
        )
    path = Path(os.path.expanduser(source))
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path} to stream rows from")
    raw = path.is_file() and path.suffix.lower() != ".npy"
    if raw:
        return RowFiles((_raw(path, shape, dtype),))
    if dtype is not None:
        raise TypeError(
            "dtype is for a file of numbers without a header: a .npy file says it itself"
        )
    paths = [path]
    if path.is_dir():
        paths = files_of(path, (".npy",))
    if not paths:
        raise ValueError(f"the folder {path} holds no .npy files to stream rows from")
    parts = tuple(map(_npy, paths))
    for part in parts[1:]:
        if (part.shape, part.dtype) != (parts[0].shape, parts[0].dtype):
            raise ValueError(
                f"{part.path.name} has rows of {part.shape} {part.dtype}, {parts[0].path.name} has rows of "
                f"{parts[0].shape} {parts[0].dtype}: all files of a folder must be alike"
            )
    return RowFiles(parts)


def _npy(path: Path) -> RowFile:
    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no .npy file of numbers: {error}") from error
    if fortran and len(shape) > 1:
        raise ValueError(
            f"{path} holds columns one after another (Fortran order), so that no row lies in one piece: "
            "write it again with numpy.save(path, numpy.ascontiguousarray(array))"
        )
    return _checked(path, offset, shape, dtype)


def _raw(path: Path, shape: Sequence[int] | None, dtype: str | None) -> RowFile:
    if shape is None or dtype is None:
        raise TypeError(
            f"{path} is no .npy file, so say what a row is: shape=, such as [784], and dtype=, such as uint8"
        )
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise TypeError(
            f"dtype must be a kind of number, such as float32 or uint8; got {dtype!r}"
        ) from error
    shape = checked_shape(shape)
    size, row = path.stat().st_size, prod(shape) * kind.itemsize
    if row < 1 or size % row:
        raise ValueError(
            f"{path} has {size} bytes, which is no whole number of rows of {shape} {kind} ({row} "
            "bytes each): it is cut short, or shape or dtype are others"
        )
    return _checked(path, 0, (size // row, *shape), kind)


def _mapped(array: np.memmap[Any, Any]) -> RowFile:
    path = array.filename
    if array.mode == "c":
        raise ValueError(
            "what was written to an array mapped with mode 'c' is not in its file, from which rows are "
            'streamed: map it with mmap_mode="r"'
        )
    if path is None or not isinstance(array.base, mmap.mmap) or not array.flags.c_contiguous:
        raise ValueError(
            "a part, or another view, of a memory-mapped array cannot be streamed: give the whole of it"
        )
    return _checked(Path(path), array.offset, array.shape, array.dtype)


def _checked(path: Path, offset: int, shape: Sequence[int], dtype: np.dtype[Any]) -> RowFile:
    if dtype.kind not in "buif":
        raise TypeError(f"{path} holds {dtype} where numbers were expected (whole, or real)")
    if len(shape) < 2:
        raise ValueError(f"{path} has the shape {tuple(shape)}; expected rows and columns, (n, D)")
    if prod(shape) == 0:
        raise ValueError(f"{path} has no rows: its shape is {tuple(shape)}")
    state = _state(path.stat())
    found = RowFile(path, offset, shape[0], tuple(shape[1:]), dtype, state)
    expected, size = offset + found.rows * found.row_bytes, state[0]
    if size < expected:
        raise ValueError(
            f"{path} is cut short: {found.rows} rows of {found.shape} {dtype} take {expected} bytes, it has "
            f"{size}"
        )
    return found


def _state(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns
