"""Values of Python that change in place without a change of what they hold: copied, or refused."""

from __future__ import annotations

import array
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from pyrovae.parameters.code_reads import is_plain_object

PACKED = (set, bytearray, np.ndarray, array.array)
LARGEST = 1024  # items that are compared before every step


def packed(value: Any) -> Any:
    """The contents of a set or an array, to be compared."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype, value.tobytes()
    return frozenset(value) if isinstance(value, set) else bytes(value)


def is_small(value: Any) -> bool:
    """Whether it can be compared before every step."""
    return (value.size if isinstance(value, np.ndarray) else len(value)) <= LARGEST


def unwatchable(value: Any) -> str | None:
    """What a value is, if changes of it cannot be noticed; None for all others.

    Example:
        >>> unwatchable(iter("abc")), unwatchable(3.0)
        ('an iterator, which moves only when the program runs', None)
    """
    if isinstance(value, random.Random | np.random.Generator | np.random.RandomState):
        return "random numbers that are not torch's"
    if isinstance(value, PACKED):
        large = f"a {type(value).__name__} of more than {LARGEST} items: make it a tensor"
        return None if is_small(value) else large
    if isinstance(value, Iterator) and not is_plain_object(value):
        return "an iterator, which moves only when the program runs"
    return None
