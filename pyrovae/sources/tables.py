"""A table of numbers from what a user has: an array, a file, a folder of images."""

from __future__ import annotations

from numbers import Integral
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
        source: an array or tensor of n rows of any shape, of which a masked value is missing; a
            DataFrame whose columns are all numbers; an AnnData (its `X`); a path. A CSV file in UTF-8 has
            one row of numbers a line, with or without a header, in which no name is a number; an empty
            field (or NA, null, nan) is a missing value. Images of a folder, in the order of their names,
            are read as 8-bit grey, what is transparent as white, and must all have the same size; those
            of 16 bits are refused.

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
        return _table(_as_array(source), "tensor")
    if kind == "pandas":
        return _table(_as_array(source), type(source).__name__)
    if isinstance(source, np.ndarray | list | tuple):
        try:
            return _table(_as_array(source), "array")
        except ValueError as error:
            raise ValueError(f"the rows do not make one table: {error}") from error
    raise TypeError(f"data must be {_ACCEPTED}; got {type(source).__name__}")


def _as_array(source: Any) -> NDArray[Any]:
    """What a person calls an array as one of NumPy's, with NaN in place of what is masked or absent."""
    if isinstance(source, Tensor):
        dense = source.detach().cpu().to_dense()
        # NumPy has no bfloat16.
        return (dense.float() if dense.dtype is torch.bfloat16 else dense).numpy()
    if type(source).__module__.partition(".")[0] == "pandas":
        values: NDArray[Any] = source.to_numpy()
        # So come whole numbers of which some are absent.
        return values if values.dtype != object else source.to_numpy(na_value=np.nan)
    if isinstance(source, np.ma.MaskedArray) and np.ma.is_masked(source):
        wide: NDArray[Any] = source.astype(np.promote_types(source.dtype, np.float64))
        return np.ma.filled(wide, np.nan)
    return np.asarray(source)


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
    with np.errstate(over="ignore"):  # what becomes infinite is refused in a sentence
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def real_numbers(what: str, rows: Any) -> Tensor:
    """An array, a DataFrame or rows in a list as a tensor, with NaN for what is masked or absent.

    Raises:
        TypeError: they are no real numbers; ``what`` begins the sentence.

    >>> real_numbers("data", np.ma.masked_equal([[1, 999]], 999))
    tensor([[1., nan]], dtype=torch.float64)
    """
    if isinstance(rows, Tensor):
        found = rows
    else:
        try:
            array = _as_array(rows)
            # In the machine's own order of bytes, and without steps backwards, which tensors have not.
            dtype = np.float64 if array.dtype == object else array.dtype.newbyteorder("=")
            found = torch.as_tensor(np.ascontiguousarray(array, dtype=dtype))
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"the {what} must be numbers, an array of the shape (N, D); got {type(rows).__name__}: "
                f"{error}"
            ) from error
    if found.is_complex():
        raise TypeError(f"the {what} must be real numbers; got {found.dtype}")
    return found


def rows_for(model: Any, rows: Any) -> Tensor:
    """Data from what a person calls rows, as numbers with fractions, checked for a model.

    Raises:
        TypeError: they are no real numbers.
        ValueError: no table of finite numbers, or of another width than the model's ``features``.
    """
    found = real_numbers("data", rows)
    check_rows("data", found, model)
    return found if found.is_floating_point() else found.double()


def check_rows(what: str, rows: Tensor, model: Any) -> None:
    """Refuse what is no table of finite numbers, as wide as the model was made for.

    Raises:
        ValueError: says what they are; ``what`` begins the sentence.
    """
    if rows.ndim != 2:
        raise ValueError(f"the {what} must have the shape (N, D); got {tuple(rows.shape)}")
    if not len(rows):
        raise ValueError(f"the {what} is empty: there must be at least one row")
    if isinstance(rows, Tensor) and rows.is_floating_point() and bool(rows.isinf().any()):
        bad = rows.isinf().any(dim=1).nonzero().flatten().tolist()
        raise ValueError(
            f"the {what} has infinite values in {len(bad)} of {len(rows)} rows (the first: row {bad[0]}): "
            "remove or replace them; NaN would mean missing"
        )
    features, here = getattr(model, "features", None), rows.shape[1]
    if isinstance(features, Integral) and features != here:
        raise ValueError(
            f"the {what} has {here} features, the model was made for {features}: make it with features={here}"
        )
