"""Files that are whole or not there, and JSON that keeps to the standard.

Standard library and NumPy only.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


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
    finally:
        temporary.unlink(missing_ok=True)


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
        ValueError: the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
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
