"""A data set: stored rows in three parts, and how a row is turned into what a model sees.

What is stored never changes; noise (dequantization, binarisation) is drawn when rows are visited:
anew at every visit in training, and once, by the split seed, for the numbers that are reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Part = Literal["train", "validation", "test"]
FormName = Literal["dequantized", "binary", "grey", "real"]
Binarisation = Literal["dynamic", "static", "threshold"]

PARTS: tuple[Part, ...] = ("train", "validation", "test")
_FORMS = ("dequantized", "binary", "grey", "real")
_BINARISATIONS = ("dynamic", "static", "threshold")


def generator_from(*numbers: int) -> torch.Generator:
    """A generator of its own for a purpose, named by numbers (a seed, an epoch, a batch ...).

    Different numbers give independent streams; the global random state is not touched.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number is negative.

    >>> one, other = generator_from(0, 7), generator_from(0, 7)
    >>> bool(torch.rand((), generator=one) == torch.rand((), generator=other))
    True
    """
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise TypeError(f"a seed must be a whole number, got {number!r}")
        if number < 0:
            raise ValueError(f"a seed must not be negative, got {number}")
    words = np.random.SeedSequence([len(numbers), *map(int, numbers)]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))


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


@dataclass(frozen=True)
class Form:
    """How stored rows become what a model sees; part of every result.

    `dequantized`: (grey + u) / levels with u uniform on [0, 1), so that a density on [0, 1]^D is a
    lower bound of the discrete probability of the grey levels, after D log(levels) is subtracted,
    and densities are comparable between models (Theis, van den Oord & Bethge 2016, A note on the
    evaluation of generative models). `binary`: 0 or 1, by `binarisation`. `grey`: the level scaled
    to [0, 1]. `real`: as stored.

    Args:
        name: one of the four.
        levels: number of grey levels; stored values are 0 ... levels - 1. Not for `real`.
        binarisation: `dynamic` (1 with probability grey, anew at every visit), `static` (the same,
            drawn once for all), `threshold` (grey of one half or more). Only for `binary`, where
            `dynamic` is the default.

    Raises:
        TypeError: an option that does not apply to this form.
        ValueError: an unknown name.

    >>> x = Form("dequantized", levels=4).visit(torch.tensor([[0, 3]]), generator_from(0))
    >>> (4 * x).floor()
    tensor([[0., 3.]])
    """

    name: FormName
    levels: int | None = None
    binarisation: Binarisation | None = None

    def __post_init__(self) -> None:
        if self.name not in _FORMS:
            raise ValueError(f"unknown form {self.name!r}; known are {', '.join(_FORMS)}")
        if self.name != "binary" and self.binarisation is not None:
            raise TypeError(f"binarisation={self.binarisation!r} needs form='binary', not {self!s}")
        if self.name == "binary" and self.binarisation is None:
            object.__setattr__(self, "binarisation", "dynamic")
        if self.name == "binary" and self.binarisation not in _BINARISATIONS:
            known = ", ".join(_BINARISATIONS)
            raise ValueError(f"unknown binarisation {self.binarisation!r}; known are {known}")
        if (self.levels is None) != (self.name == "real"):
            raise TypeError("levels is for grey values: every form but 'real' needs it")

    def __str__(self) -> str:
        return repr(self.name)

    @property
    def support(self) -> Literal["real", "unit", "binary"]:
        """Where values lie: any number, [0, 1], or exactly 0 and 1."""
        if self.name in ("real", "binary"):
            return self.name
        return "unit"

    def store(self, grey: Tensor, generator: torch.Generator) -> Tensor:
        """What to keep of grey levels: all, unless they are binarised once for all.

        Args:
            grey: (n, D) levels.
            generator: of the draw of a static binarisation.

        Returns:
            (n, D) of the same type; 0 and levels - 1 where binarised.
        """
        if self.levels is None or self.binarisation not in ("static", "threshold"):
            return grey
        share = grey.float() / (self.levels - 1)
        limit = 0.5 if self.binarisation == "threshold" else _uniform(share, generator)
        ones = share >= limit if self.binarisation == "threshold" else share > limit
        return (ones * (self.levels - 1)).to(grey.dtype)

    def visit(self, stored: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What a model sees of stored rows, with its noise drawn now.

        Args:
            stored: (B, D), from `store`.
            generator: of the noise, on the same device; None takes the global one.

        Returns:
            (B, D) of the default floating type.
        """
        x = stored.to(torch.get_default_dtype())
        if self.levels is None:
            return x
        if self.name == "dequantized":
            return (x + _uniform(x, generator)) / self.levels
        x = x / (self.levels - 1)
        if self.binarisation == "dynamic":
            return (x > _uniform(x, generator)).to(x.dtype)
        return x


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    # Always drawn in single precision: one test set, whatever the default type.
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=torch.float32)


@dataclass(frozen=True, eq=False)
class DataSet:
    """Training, validation and test rows, and the form in which a model sees them.

    Args:
        name: for tables.
        shape: of one row, such as (8, 8); its product is D.
        train, validation, test: the three parts.
        form: how stored rows are turned into x.
        split_seed: fixes which row is in which part and the noise of `fixed`.
        origin: what else a result should record: addresses, checksums, paths.

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
    origin: Mapping[str, Any] = field(default_factory=dict)

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
            "rows": {name: len(self.part(name)) for name in PARTS},
            "split_seed": self.split_seed,
            **self.origin,
        }
