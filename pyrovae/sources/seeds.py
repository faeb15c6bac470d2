"""Generators of random numbers, each for one purpose, so that no draw disturbs another."""

from __future__ import annotations

import numpy as np
import torch


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
