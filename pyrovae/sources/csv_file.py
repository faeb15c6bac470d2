"""A CSV file of numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_csv(path: Path) -> NDArray[np.float64]:
    """The rows of a CSV file in UTF-8, (n, D); NaN where a field is empty, NA, N/A, null or nan.

    The first line is a header if it holds text and no number.

    Raises:
        TypeError: a field that is no number, in a first line that holds numbers too or in any other; row
            numbers, or columns whose names are their numbers, as DataFrames are written unless told.
        ValueError: no rows, rows of different lengths, or no CSV file in UTF-8.
    """
    lines = list(_lines(path))
    if not lines:
        raise ValueError(f"{path} is empty")
    first = [field.strip() for field in lines[0][1]]
    _refuse_what_counts(first, lines[1][1] if len(lines) > 1 else [], path)
    columns, header = len(first), _is_header(first, f"line {lines[0][0]} of {path}")
    rows = []
    for number, line in lines[header:]:
        if len(line) != columns:
            raise ValueError(
                f"line {number} of {path} has {len(line)} fields, the first has {columns}{_parted(line)}"
            )
        try:
            rows.append([_number(field) for field in line])
        except ValueError as error:
            raise TypeError(
                f"line {number} of {path} holds what is not a number: {error}{_parted(line)}"
            ) from error
    return np.array(rows, dtype=np.float64).reshape(len(rows), columns)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not blank."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        try:
            yield from ((reader.line_num, line) for line in reader if line)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no text in UTF-8: {error}; save it as UTF-8") from error
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num} of {path} is no CSV: {error}") from error


def _refuse_what_counts(first: list[str], second: list[str], path: Path) -> None:
    """Refuse what would be taken for data: numbers of rows in a column, numbers of columns in a line."""
    numbers = [str(number) for number in range(len(first))]
    counted = first[1:] == numbers[:-1] and (len(first) > 2 or second[:1] == ["0"])
    if first[0] == "" and (counted or not any(map(_is_number, first[1:]))):
        raise TypeError(
            f"the first column of {path} has no name, as row numbers or names have none: leave it out, as "
            "DataFrame.to_csv(index=False) does, or give it a name if it is data"
        )
    # Two numbers alone may be a row of zeros and ones.
    whole = all(field.strip().isdecimal() for field in second)
    if first == numbers and (len(first) > 2 or (len(first) == 2 and not whole)):
        raise TypeError(
            f"the first line of {path} is 0, 1, ..., {numbers[-1]}, as columns without names are called: "
            "leave it out, as DataFrame.to_csv(header=False) does, or give names that are no numbers"
        )


def _parted(line: list[str]) -> str:
    """What to do about a line whose fields something else than commas seems to part."""
    for mark, name in {";": "semicolons", "\t": "tabs"}.items():
        if any(mark in field for field in line):
            return f"; fields are parted by commas here, not by {name}: save it so"
    return ""


def _is_header(first: list[str], where: str) -> bool:
    """Whether a first line is names; a mistyped row of numbers must not pass for one."""
    text = [column for column, field in enumerate(first, 1) if not _is_number(field)]
    # NaN is on neither side: a header may have no name for an index, or call sodium Na.
    numbers = [field for field in first if _is_number(field) and not math.isnan(_number(field))]
    if text and numbers:
        raise TypeError(
            f"{where} holds numbers, such as {numbers[0]!r}, and in column {text[0]} what is not a number: "
            f"{first[text[0] - 1]!r}; correct it, or if it is a header, let no name be a number"
        )
    return bool(text)


def _is_number(field: str) -> bool:
    try:
        _number(field)
    except ValueError:
        return False
    return True


def _number(field: str) -> float:
    """A field's number; NaN where the field says that there is none."""
    return float("nan") if field.strip().lower() in ("", "na", "n/a", "null") else float(field)
