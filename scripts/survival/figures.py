"""A figure to reach, and what came out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """So many of so many.

    Args:
        what: in words.
        reached: how many were right.
        total: how many there were; None if there is nothing to reach.
        note: what else is worth saying.
    """

    what: str
    reached: int
    total: int | None
    note: str = ""

    @property
    def fell_short(self) -> bool:
        """Whether not all were right."""
        return self.total is not None and (self.reached != self.total or self.total == 0)

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        short = "   <-- falls short" if self.fell_short else ""
        note = f"   ({self.note})" if self.note else ""
        return f"{self.what:<78} {self.reached:>7,}{of}{note}{short}"
