"""Every random state that a fit draws from: torch's, and NumPy's and Python's for programs that use them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed all random states for a piece of work, and leave them as they were found.

    Args:
        seed: at least 0.
        device: one whose generator is seeded beside that of the CPU.

    >>> before = torch.get_rng_state()
    >>> with own_randomness(0, torch.device("cpu")):
    ...     first = torch.rand(())
    >>> bool((torch.get_rng_state() == before).all())
    True
    """
    found = read_random(device)
    try:
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        np.random.set_state(np.random.RandomState(seed % 2**32).get_state())
        random.setstate(random.Random(seed).getstate())
        yield
    finally:
        set_random(found, device)


def read_random(device: torch.device) -> dict[str, Any]:
    """Copies of all random states, as `set_random` takes them."""
    legacy: Any = np.random.get_state()
    kind, key, position, has_gauss, gauss = legacy
    version, words, next_gauss = random.getstate()
    found: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [kind, key.astype(np.int64), position, has_gauss, gauss],
        "python": [version, np.array(words, dtype=np.int64), next_gauss],
    }
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def set_random(state: Mapping[str, Any], device: torch.device) -> None:
    """Put back what `read_random` returned.

    Raises:
        ValueError: it is no such state.
    """
    try:
        torch.set_rng_state(state["torch"])
        kind, key, *rest = state["numpy"]
        np.random.set_state((str(kind), _words(key).astype(np.uint32), *rest))
        version, words, next_gauss = state["python"]
        random.setstate((version, tuple(_words(words).tolist()), next_gauss))
        if device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], device)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"the saved random state is not one: {error}") from error


def _words(value: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)
