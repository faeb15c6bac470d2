"""Files that are whole or not there, and JSON that keeps to the standard.

Standard library and NumPy only.
"""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

MOST_JSON = 2**28  # bytes


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers, and a crash, see the old content or the new, never a part.

    The bytes go to a temporary name in the same folder, are flushed to disk, and are renamed.

    Args:
        path: the file; its folder must exist.
        content: all of it.

    Raises:
        OSError: it cannot be written; the old file, if any, is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def flush_folder(path: Path) -> None:
    """Make names in a folder outlive a loss of power, where the system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # nor do some file systems flush them
    finally:
        os.close(descriptor)


def read_regular(path: Path, *, most: int = MOST_JSON, exactly: int | None = None) -> bytes:
    """The content of a regular file; a link or a pipe is refused, never followed or waited for.

    Args:
        path: the file.
        most: bytes that it may have; a larger file is refused unread.
        exactly: bytes that it must have.

    Raises:
        ValueError: it is a link, no regular file, or of another size.
        OSError: it cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(f"{path} is a link, which is not followed.") from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} is not a regular file.")
    with os.fdopen(descriptor, "rb") as file:
        if exactly is not None and status.st_size != exactly:
            raise ValueError(
                f"{path} is damaged: it has {status.st_size} bytes where {exactly} were written."
            )
        if exactly is None and status.st_size > most:
            raise ValueError(f"{path} has {status.st_size} bytes; at most {most} are read.")
        return file.read()


def write_json(path: Path, value: Any) -> None:
    """Write a value as standard JSON, atomically; NumPy numbers and paths are turned to plain ones.

    Raises:
        ValueError: a number is NaN or infinite (see `without_non_finite`).
        TypeError: a value that JSON cannot hold.
    """
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False, default=_plain)
    write_atomically(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        ValueError: the file is not JSON, or no regular file.
    """
    return parse_json(read_regular(path), path)


def parse_json(content: bytes, path: Path) -> Any:
    """The value that bytes read from a file say.

    Raises:
        ValueError: they are not JSON.
    """
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} is not readable JSON: it is nested too deeply.") from error
    except ValueError as error:  # not JSON, not UTF-8, or a number of thousands of digits
        raise ValueError(f"{path} is not readable JSON: {error}.") from error


def without_non_finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with every NaN and infinity as None and their keys listed under `not_finite`.

    >>> without_non_finite({"test_elbo": float("nan"), "data": {"offset": 1.0}})
    {'test_elbo': None, 'data': {'offset': 1.0}, 'not_finite': ['test_elbo']}
    """
    found: list[str] = list(record.get("not_finite") or [])

    def clean(value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            return {k: clean(v, f"{key}.{k}") for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [clean(v, f"{key}.{i}") for i, v in enumerate(value)]
        if isinstance(value, (float, np.floating)) and not math.isfinite(value):
            found.append(key)
            return None
        return value

    cleaned = {key: clean(value, key) for key, value in record.items() if key != "not_finite"}
    return {**cleaned, "not_finite": found} if found else cleaned


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"A {type(value).__name__} cannot be written as JSON: {value!r}.")
