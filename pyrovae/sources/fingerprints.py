"""Whether files of data are those they were: a short text that differs when their content does."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pyrovae.sources.folders import files_of
from pyrovae.sources.images import ENDINGS

KINDS = (*ENDINGS, ".npy")
MOST_READ = 2**28  # bytes; of more, so many in pieces, evenly spread
PIECE = 2**20


def fingerprint(source: Any) -> str | None:
    """A fingerprint of a file, or of the images and arrays of a folder with their names; where they lie
    does not matter.

    Of more than 256 MiB it is of 1 MiB pieces that are evenly spread, and of the size: another file of the
    same size that differs between the pieces only is taken for the same.

    Args:
        source: a path; None is returned for anything else, and where there is nothing to read.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     fingerprint(file.name), fingerprint("no such file")
        ('e3b0c44298fc', None)
    """
    if not isinstance(source, str | Path):
        return None
    path, digest = Path(source).expanduser(), hashlib.sha256()
    try:
        files = [path] if path.is_file() else files_of(path, KINDS) if path.is_dir() else []
        sizes = [file.stat().st_size for file in files]
        for file, size in zip(files, sizes, strict=True):
            if path.is_dir():
                digest.update(f"{file.name}\0{size}\0".encode())
            _read(file, size, max(1.0, sum(sizes) / MOST_READ), digest)
    except OSError:  # told better by who reads the data
        return None
    return digest.hexdigest()[:12] if files else None


def checked_fingerprint(source: Any, expected: str | None) -> dict[str, str]:
    """What a data set records of the files that it was read from.

    Args:
        source: a path, or data in memory, of which nothing is recorded.
        expected: the fingerprint that they must have, if any.

    Raises:
        ValueError: they have another.
        TypeError: one is expected of data in memory.
    """
    found = fingerprint(source)
    if expected is not None and not isinstance(source, str | Path):
        raise TypeError("fingerprint is for files: data in memory are what they are")
    if found is not None and expected not in (None, found):
        raise ValueError(
            f"{source} holds other data than it did: its fingerprint was {expected} and is {found}; put the "
            "old data back, or begin another run, without the old fingerprint"
        )
    return {} if found is None else {"fingerprint": found}


def _read(path: Path, size: int, sparsely: float, digest: Any) -> None:
    """Add a file, or one piece of every so many, the last one always."""
    digest.update(f"{size}\0".encode() if sparsely > 1 else b"")
    pieces = -(-size // PIECE)
    wanted = min(pieces, int(pieces / sparsely) + 1)
    with path.open("rb") as file:
        for number in range(wanted):
            file.seek(PIECE * (number * (pieces - 1) // max(1, wanted - 1)))
            digest.update(file.read(PIECE))
