"""A figure to reach, and what came out."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from pyrovae.storage.files import write_json

PACKAGES = ("torch", "pyro-ppl", "numpy", "safetensors", "hypothesis", "mpmath")


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


def record(path: Path, name: str, figures: Sequence[Figure], options: str = "") -> None:
    """Write the figures of one kind into a JSON file; those of other kinds in it stay.

    Args:
        path: the file.
        name: of the kind.
        figures: of this kind.
        options: of the command, each followed by a space.
    """
    held = json.loads(path.read_text()) if path.exists() else {}
    held[name] = {
        "command": f"python scripts/survival {options}{name}",
        "seed": 0,
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, one thread",
        "figures": [
            {key: value for key, value in asdict(figure).items() if value not in (None, "")}
            for figure in figures
        ],
        "fell_short": sum(figure.fell_short for figure in figures),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, held)
