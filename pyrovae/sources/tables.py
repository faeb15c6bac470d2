"""A table of numbers from what a user has: an array, a file, a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.sources.csv_file import read_csv
from pyrovae.sources.images import read_images

_ACCEPTED = (
    "a NumPy array, a tensor, a DataFrame, an AnnData, or the path of a .npy or .csv file "
    "or of a folder of images"
)


class Table(NamedTuple):
    """Rows as given: values (n, D), the shape of one row, and where they came from."""

    values: NDArray[Any]
    shape: tuple[int, ...]
    origin: str


def read_table(source: Any) -> Table:
    """The rows of an array, DataFrame, AnnData, .npy or .csv file, or folder of images.

    Args:
        source: an array or tensor of n rows of any shape; a DataFrame whose columns are all
            numbers; an AnnData (its `X`); a path. A CSV file in UTF-8 has one row of numbers a line, with
            or without a header, in which no name is a number; an empty field (or NA, null, nan) is a
            missing value. Images of a folder, in the order of their names, are read as 8-bit grey, what
            is transparent as white, and must all have the same size; those of 16 bits are refused.

    Raises:
        FileNotFoundError: nothing at that path.
        TypeError: the values are not numbers, or the source is of another kind.
        ValueError: no rows, or rows of different lengths.

    >>> read_table(np.zeros((3, 2, 2))).shape
    (2, 2)
    """
    if isinstance(source, str | Path):
        return _read_path(Path(source).expanduser())
    kind = type(source).__module__.partition(".")[0]
    if kind == "anndata":
        matrix = source.X.toarray() if hasattr(source.X, "toarray") else source.X
        return _table(np.asarray(matrix), "AnnData")
    if isinstance(source, Tensor):
        return _table(source.detach().cpu().numpy(), "tensor")
    if kind == "pandas":
        values = source.to_numpy()
        if values.dtype == object:  # so come whole numbers of which some are absent
            values = source.to_numpy(na_value=np.nan)
        return _table(values, "DataFrame")
    if isinstance(source, np.ndarray | list | tuple):
        try:
            return _table(np.asarray(source), "array")
        except ValueError as error:
            raise ValueError(f"the rows do not make one table: {error}") from error
    raise TypeError(f"data must be {_ACCEPTED}; got {type(source).__name__}")


def _table(values: NDArray[Any], origin: str) -> Table:
    if values.dtype == object:
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"the {origin} holds what is not a number: {error}") from error
    if values.dtype.kind not in "buif":
        raise TypeError(
            f"the {origin} holds {values.dtype} where numbers were expected; leave out or encode "
            "columns of text, dates and complex numbers"
        )
    if values.ndim < 2:
        raise ValueError(
            f"the {origin} has shape {values.shape}; expected rows and columns, (n, D)"
        )
    if values.size == 0:
        raise ValueError(f"the {origin} is empty: its shape is {values.shape}")
    return Table(values.reshape(len(values), -1), values.shape[1:], origin)


def _read_path(path: Path) -> Table:
    if path.is_dir():
        return _table(read_images(path), str(path))
    if not path.is_file():
        raise FileNotFoundError(f"there is no file or folder {path}; data must be {_ACCEPTED}")
    if path.suffix.lower() == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{path} is no whole array of numbers: {error}") from error
        return _table(values, str(path))
    if path.suffix.lower() == ".csv":
        return _table(read_csv(path), str(path))
    raise TypeError(f"{path} is of a kind that is not read here; data must be {_ACCEPTED}")


def as_tensor(values: NDArray[Any], *, grey: bool) -> Tensor:
    """Numbers as stored by a data set: bytes for grey levels up to 255, else single precision."""
    if grey and values.dtype.kind in "bu" and values.max(initial=0) <= 255:
        return torch.from_numpy(values.astype(np.uint8))
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
