"""Data of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.sources.dataset import DataSet, Rows, check_values, shape_of_row
from pyrovae.sources.fingerprints import checked_fingerprint
from pyrovae.sources.forms import Binarisation, Form, FormName
from pyrovae.sources.seeds import generator_from
from pyrovae.sources.tables import as_tensor, read_table


class Array(DataSet):
    """Rows of numbers of one's own, split at random into training, validation and test rows.

    Args:
        source: an array or tensor of n rows, a DataFrame, an AnnData, or the path of a .npy or
            .csv file or of a folder of images; see `pyrovae.sources.tables.read_table`.
        form: `real` (values as they are), or for images `binary`, `dequantized` or `grey`; see
            `pyrovae.sources.forms.Form`.
        binarisation: `dynamic`, `static` or `threshold`, for the form `binary` of grey values.
            Values that are all 0 and 1 need none.
        levels: number of grey levels of whole numbers 0 ... levels - 1, 256 for 8-bit images; None
            where values lie in [0, 1] already.
        missing: whether NaN, or a masked value, stands for a missing value; refused otherwise.
        split: shares of the rows to train on, to validate and to test; they sum to 1.
        split_seed: which row is in which part, and the noise of validation and test rows.
        labels: class of each row, whole numbers (n,), or None.
        shape: of one row, such as (28, 28), to show it as an image; that of the source if None.
        name: for tables.
        fingerprint: that the file or folder must have; a run's configuration holds that of the data it
            was made with. See `pyrovae.sources.fingerprints.fingerprint`.

    Raises:
        FileNotFoundError: nothing at that path.
        TypeError: values or labels that are not numbers; an option that does not apply.
        ValueError: no rows; an infinite value; NaN without `missing`; values outside what the form
            allows; shares that are no split; another shape than the rows have; labels that are not whole;
            another fingerprint.

    >>> data = Array(np.arange(20.0).reshape(10, 2))
    >>> len(data.train), len(data.validation), len(data.test)
    (8, 1, 1)
    """

    def __init__(
        self,
        source: Any,
        form: FormName = "real",
        *,
        binarisation: Binarisation | None = None,
        levels: int | None = None,
        missing: bool = False,
        split: Sequence[float] = (0.8, 0.1, 0.1),
        split_seed: int = 0,
        labels: Sequence[int] | None = None,
        shape: Sequence[int] | None = None,
        name: str = "array",
        fingerprint: str | None = None,
    ) -> None:
        content = checked_fingerprint(source, fingerprint)
        table = read_table(source)
        made = Form.of_ones_own(form, levels, binarisation)
        values = as_tensor(table.values, grey=form != "real")
        check_values(values, made, missing, "rows")
        values = made.store(values, generator_from(split_seed, 100))
        train, validation, test = _split(values, _classes(labels, len(values)), split, split_seed)
        super().__init__(
            name,
            shape_of_row(shape, table.shape),
            train,
            validation,
            test,
            form=made,
            split_seed=split_seed,
            missing=missing,
            origin={"source": table.origin, **content},
        )


def _classes(labels: Sequence[int] | None, rows: int) -> Tensor | None:
    if labels is None:
        return None
    given = np.asarray(labels)
    if given.shape != (rows,):
        raise ValueError(f"labels of shape {given.shape} for {rows} rows")
    if given.dtype.kind not in "buif":
        raise TypeError(
            f"labels must be whole numbers, got {given.dtype}; number the classes, as "
            "np.unique(labels, return_inverse=True)[1] does"
        )
    odd = (given != np.trunc(given)) | ~np.isfinite(given)
    if odd.any():
        row = int(odd.argmax())
        raise ValueError(f"labels must be whole numbers, got {given[row]} for row {row}")
    return torch.from_numpy(given.astype(np.int64))


def _split(
    values: Tensor, classes: Tensor | None, split: Sequence[float], seed: int
) -> tuple[Rows, ...]:
    order = torch.randperm(len(values), generator=generator_from(seed, 0))
    parts = order.split(_counts(len(values), split))
    return tuple(Rows(values[p], None if classes is None else classes[p]) for p in parts)


def _counts(rows: int, split: Sequence[float]) -> list[int]:
    """Rows of each part, in all exactly `rows`, and none without any: few rows follow the shares roughly."""
    try:
        shares = np.asarray(split, dtype=float)
    except (TypeError, ValueError):
        shares = np.empty(0)
    if shares.shape != (3,) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(
            "split must be three positive shares (train, validation, test) that sum to 1, "
            f"got {split!r}"
        )
    if rows < 3:
        raise ValueError(f"three parts need at least 3 rows, got {rows}")
    ends = [max(1, round(rows * share)) for share in shares[1:]]
    while sum(ends) >= rows:  # both were rounded up
        ends[ends.index(max(ends))] -= 1
    return [rows - sum(ends), *ends]
