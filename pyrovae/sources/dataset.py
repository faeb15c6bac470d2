"""A data set: stored rows in three parts, and the form in which a model sees them.

What is stored never changes; noise (dequantization, binarisation) is drawn when rows are visited:
anew at every visit in training, and once, by the split seed, for the numbers that are reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pyrovae.sources.forms import Form
from pyrovae.sources.seeds import generator_from

Part = Literal["train", "validation", "test"]

PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one part of a data set.

    Args:
        stored: (n, D), as stored: grey levels for images, values for other data.
        labels: (n,) class of each row, never shown to a model unless it asks; or None.

    >>> len(Rows(torch.zeros(3, 2)))
    3
    """

    stored: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.stored)


def shape_of_row(asked: Sequence[int] | None, found: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that was asked for, or the one that was found if none was.

    Raises:
        ValueError: they do not hold as many values, or what was asked for is not of whole numbers from 1.

    >>> shape_of_row((2, 3), (6,)), shape_of_row(None, (6,))
    ((2, 3), (6,))
    """
    if asked is None:
        return found
    sizes = checked_shape(asked)
    if prod(sizes) != prod(found):
        raise ValueError(f"shape {sizes} does not hold rows of {prod(found)} values")
    return sizes


def checked_shape(asked: Sequence[int]) -> tuple[int, ...]:
    """The shape of a row that somebody asked for.

    Raises:
        ValueError: it is not of whole numbers from 1.
    """
    try:
        sizes = tuple(int(size) for size in asked)
        whole = all(size == given >= 1 for size, given in zip(sizes, asked, strict=True))
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise ValueError(f"shape must be whole numbers from 1, such as (28, 28), got {asked!r}")
    return sizes


def check_rows(rows: Rows, features: int, what: str) -> None:
    """Refuse rows that are no table of `features` columns, or none at all.

    Raises:
        ValueError: says what was expected and what came.
    """
    shape = tuple(rows.stored.shape)
    if len(shape) != 2 or shape[1] != features:
        raise ValueError(f"the {what} must have shape (n, {features}), got {shape}")
    if shape[0] == 0:
        raise ValueError(f"there are no {what}")
    if rows.labels is not None and len(rows.labels) != shape[0]:
        raise ValueError(f"{len(rows.labels)} labels for {shape[0]} {what}")


def check_values(stored: Tensor, form: Form, missing: bool, what: str) -> None:
    """Refuse values that a form does not have.

    Raises:
        ValueError: says which, and what to do.
    """
    if stored.dtype.is_floating_point:
        if stored.isinf().any():
            raise ValueError(
                f"the {what} hold infinite values, or some beyond single precision (3.4e38); remove or "
                "replace them first"
            )
        absent = stored.isnan()
        if absent.any() and not missing:
            raise ValueError(
                f"the {what} hold {int(absent.sum())} NaN; replace them, or say missing=True and "
                "use a model for missing values"
            )
        stored = stored[~absent]
    if form.name == "real" or stored.numel() == 0:
        return
    low, high, white = float(stored.min()), float(stored.max()), form.white
    if low < 0 or high > white:
        raise ValueError(
            f"the {what} lie between {low:g} and {high:g}; the form {form!s} with "
            f"levels={form.levels} needs values from 0 to {white}"
        )
    if form.levels is not None and stored.dtype.is_floating_point and (stored % 1 != 0).any():
        raise ValueError(
            f"the {what} are no whole grey levels; the form {form!s} with levels={form.levels} "
            f"needs whole numbers from 0 to {white}"
        )


@dataclass(frozen=True, eq=False)
class DataSet:
    """Training, validation and test rows, and the form in which a model sees them.

    Args:
        name: for tables.
        shape: of one row, such as (8, 8); its product is D.
        train, validation, test: the three parts.
        form: how stored rows are turned into x.
        split_seed: fixes which row is in which part and the noise of `fixed`.
        missing: whether NaN is a missing value.
        origin: what else a result should record: checksums, paths.

    Raises:
        ValueError: a part without rows, rows of another length than the shape, infinite values, NaN
            where nothing is `missing`, or values that the form does not have.

    >>> rows = Rows(torch.tensor([[0, 3], [1, 2]]))
    >>> data = DataSet("two", (2,), rows, rows, rows, Form("grey", levels=4), split_seed=0)
    >>> data.fixed("test")
    tensor([[0.0000, 1.0000],
            [0.3333, 0.6667]])
    """

    name: str
    shape: tuple[int, ...]
    train: Rows
    validation: Rows
    test: Rows
    form: Form
    split_seed: int
    missing: bool = False
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in PARTS:
            check_rows(self.part(name), self.features, f"{name} rows of {self.name}")
            stored = self.part(name).stored
            if isinstance(stored, Tensor):  # what lies on a disk is looked at as it is read
                check_values(stored, self.form, self.missing, f"{name} rows")

    @property
    def features(self) -> int:
        """D, the number of values in a row."""
        return int(np.prod(self.shape))

    def part(self, name: Part) -> Rows:
        """The rows of one part, by name.

        Raises:
            ValueError: an unknown part.
        """
        if name not in PARTS:
            raise ValueError(f"unknown part {name!r}; known are {', '.join(PARTS)}")
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    def visit(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What a model sees of stored rows (B, D), with noise drawn anew."""
        return self.form.visit(rows, generator)

    def fixed(self, name: Part) -> Tensor:
        """What a model sees of a whole part, (n, D): the same at every call, by the split seed."""
        generator = generator_from(self.split_seed, 1 + PARTS.index(name) if name in PARTS else 0)
        return self.form.visit(self.part(name).stored, generator)

    def describe(self) -> dict[str, Any]:
        """What a result records of its data: plain numbers and strings."""
        return {
            "name": self.name,
            "form": self.form.name,
            "binarisation": self.form.binarisation or "none",
            "levels": self.form.levels,
            "shape": list(self.shape),
            "features": self.features,
            "missing": self.missing,
            "rows": {name: len(self.part(name)) for name in PARTS},
            "split_seed": self.split_seed,
            **self.origin,
        }
