"""Which files of a folder are data."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


def files_of(folder: Path, endings: Collection[str]) -> list[Path]:
    """The files with these endings, in the order of their names.

    Beside a file on a disk that is not its own, macOS puts ``._NAME``, which holds no data but ends alike.
    """
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in endings and not path.name.startswith("._")
    )
