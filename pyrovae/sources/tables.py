"""A table of numbers from what a user has: an array, a file, a folder of images."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".webp")
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
            numbers; an AnnData (its `X`); a path. A CSV file has one row of numbers a line, with or
            without a header; an empty field (or NA, null, nan) is a missing value. Images of a folder,
            in the order of their names, are read as 8-bit grey and must all have the same size.

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
        return _table(source.to_numpy(), "DataFrame")
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
        return _read_images(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file or folder {path}; data must be {_ACCEPTED}")
    if path.suffix == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{path} is no whole array of numbers: {error}") from error
        return _table(values, str(path))
    if path.suffix == ".csv":
        return _table(_read_csv(path), str(path))
    raise TypeError(f"{path} is of a kind that is not read here; data must be {_ACCEPTED}")


def _read_csv(path: Path) -> NDArray[np.float64]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = [(number, line) for number, line in enumerate(csv.reader(file), 1) if line]
    if not lines:
        raise ValueError(f"{path} is empty")
    try:
        header = not [_number(field) for field in lines[0][1]]
    except ValueError:
        header = True
    rows = []
    for number, line in lines[header:]:
        if len(line) != len(lines[0][1]):
            raise ValueError(
                f"line {number} of {path} has {len(line)} fields, the first has {len(lines[0][1])}"
            )
        try:
            rows.append([_number(field) for field in line])
        except ValueError as error:
            raise TypeError(
                f"line {number} of {path} holds what is not a number: {error}"
            ) from error
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(lines[0][1]))


def _number(field: str) -> float:
    """A field's number; NaN where the field says that there is none."""
    return float("nan") if field.strip().lower() in ("", "na", "n/a", "null") else float(field)


def _read_images(folder: Path) -> Table:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images need Pillow: pip install 'pyrovae[images]'") from error
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGES)
    if not paths:
        raise ValueError(f"no images in {folder}; known endings are {', '.join(_IMAGES)}")
    images = []
    for path in paths:
        try:
            with Image.open(path) as image:
                images.append(np.asarray(image.convert("L")))
        except OSError as error:
            raise ValueError(f"{path} is no whole image: {error}") from error
        if images[-1].shape != images[0].shape:
            raise ValueError(
                f"{path.name} has {images[-1].shape} rows and columns, {paths[0].name} has "
                f"{images[0].shape}; bring all images to one size first"
            )
    return _table(np.stack(images), str(folder))


def as_tensor(values: NDArray[Any], *, grey: bool) -> Tensor:
    """Numbers as stored by a data set: bytes for grey levels up to 255, else single precision."""
    if grey and values.dtype.kind in "bu" and values.max(initial=0) <= 255:
        return torch.from_numpy(values.astype(np.uint8))
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
