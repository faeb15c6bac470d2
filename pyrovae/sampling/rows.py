"""Rows of data as people have them: arrays, DataFrames and lists become tensors that programs take."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from torch import Tensor

from pyrovae.densities.missing import refuse_single_row
from pyrovae.programs import first_parameter
from pyrovae.sources.tables import real_numbers


def as_rows(x: Any, *programs: Any) -> Tensor:
    """An array, a DataFrame or a list as a tensor in the programs' precision, where their parameters are.

    Tensors stay what they are, and so does what only the programs themselves can read.

    Args:
        x: (B, D), or whatever the programs take.
        *programs: that will be called with it.

    Raises:
        TypeError: an array or a list that does not hold real numbers.
        ValueError: no rows, or one number where there should be a row.

    >>> as_rows([[1, 2]])
    tensor([[1., 2.]])
    """
    known = [program for program in programs if program is not None]
    if not isinstance(x, Tensor) and (isinstance(x, list) or hasattr(x, "__array__")):
        x = real_numbers("data", x).to(first_parameter(*known))
    if isinstance(x, Tensor):
        features = [
            int(n) for p in known if isinstance(n := getattr(p, "features", None), Integral)
        ]
        if x.dim() == 0 or len(x) == 0:
            raise ValueError(f"there are no rows in data of the shape {tuple(x.shape)}")
        if max(features, default=1) > 1:
            refuse_single_row(x, features[0])
    rows: Tensor = x
    return rows
