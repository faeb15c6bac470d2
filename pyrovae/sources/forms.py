"""The form of the data: how what is stored becomes what a model sees, with its noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

FormName = Literal["dequantized", "binary", "grey", "real"]
Binarisation = Literal["dynamic", "static", "threshold"]

_FORMS = ("dequantized", "binary", "grey", "real")
_BINARISATIONS = ("dynamic", "static", "threshold")


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
        levels: number of grey levels; stored values are 0 ... levels - 1. None: they lie in [0, 1]
            already. `dequantized` needs it, `real` has none.
        binarisation: `dynamic` (1 with probability grey, anew at every visit), `static` (the same,
            drawn once for all), `threshold` (grey of one half or more). `binary` needs it, unless
            there are two levels.

    Raises:
        TypeError: an option that does not apply to this form, or one that it lacks.
        ValueError: an unknown name.

    >>> generator = torch.Generator().manual_seed(0)
    >>> x = Form("dequantized", levels=4).visit(torch.tensor([[0, 3]]), generator)
    >>> (4 * x).floor()
    tensor([[0., 3.]])
    """

    name: FormName
    levels: int | None = None
    binarisation: Binarisation | None = None

    def __post_init__(self) -> None:
        if self.name not in _FORMS:
            raise ValueError(f"unknown form {self.name!r}; known are {', '.join(_FORMS)}")
        if self.binarisation not in (None, *_BINARISATIONS):
            known = ", ".join(_BINARISATIONS)
            raise ValueError(f"unknown binarisation {self.binarisation!r}; known are {known}")
        if self.name != "binary" and self.binarisation is not None:
            raise TypeError(f"binarisation={self.binarisation!r} needs form='binary', not {self!s}")
        if self.name == "binary" and (self.binarisation is None) != (self.levels == 2):
            raise TypeError(
                f"binarisation is for grey values, and needed for them: got {self.binarisation!r} "
                f"with levels={self.levels}; known are {', '.join(_BINARISATIONS)}"
            )
        if self.name == "dequantized" and self.levels is None:
            raise TypeError("the form 'dequantized' needs levels, such as 256 for 8-bit images")
        if self.name == "real" and self.levels is not None:
            raise TypeError(f"levels={self.levels} is for grey values, not for the form 'real'")
        if self.levels is not None and self.levels < 2:
            raise ValueError(f"there must be at least 2 grey levels, got {self.levels}")

    @classmethod
    def of_ones_own(
        cls, name: FormName, levels: int | None, binarisation: Binarisation | None
    ) -> Form:
        """The form of data that somebody brings: what is to be binary, and no more is said, is 0 and 1."""
        if name == "binary" and binarisation is None and levels is None:
            levels = 2
        return cls(name, levels, binarisation)

    def __str__(self) -> str:
        return repr(self.name)

    @property
    def support(self) -> Literal["real", "unit", "binary"]:
        """Where values lie: any number, [0, 1], or exactly 0 and 1."""
        if self.name in ("real", "binary"):
            return self.name
        return "unit"

    @property
    def white(self) -> int:
        """The largest value stored."""
        return 1 if self.levels is None else self.levels - 1

    def store(self, grey: Tensor, generator: torch.Generator) -> Tensor:
        """What to keep of grey levels: all, unless they are binarised once for all.

        Args:
            grey: (n, D) levels.
            generator: of the draw of a static binarisation.

        Returns:
            (n, D) of the same type; 0 and levels - 1 where binarised.
        """
        if self.binarisation not in ("static", "threshold"):
            return grey
        share = grey.float() / self.white
        ones = (
            share >= 0.5 if self.binarisation == "threshold" else share > _uniform(share, generator)
        )
        return torch.where(grey.isnan(), grey, (ones * self.white).to(grey.dtype))

    def visit(self, stored: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What a model sees of stored rows, with its noise drawn now.

        Args:
            stored: (B, D), from `store`.
            generator: of the noise, on the same device; None takes the global one.

        Returns:
            (B, D) of the default floating type.
        """
        x = stored.to(torch.get_default_dtype())
        if self.name == "dequantized":
            return (x + _uniform(x, generator)) / (self.white + 1)
        x = x / self.white
        if self.binarisation == "dynamic":
            # What is missing stays missing.
            return torch.where(x.isnan(), x, (x > _uniform(x, generator)).to(x.dtype))
        return x


def grey_form(name: FormName, binarisation: Binarisation | None, levels: int | None) -> Form:
    """The form of grey images, in which binarisation is `dynamic` unless told.

    Raises:
        TypeError: an option that does not apply.
        ValueError: an unknown name, or `real`, which images are not.

    >>> grey_form("binary", None, 256).binarisation
    'dynamic'
    """
    if name == "real":
        raise ValueError("images come as 'dequantized', 'binary' or 'grey', not as 'real'")
    if name == "binary" and binarisation is None:
        binarisation = "dynamic"
    return Form(name, levels, binarisation)


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    # Always drawn in single precision: one test set, whatever the default type.
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=torch.float32)
