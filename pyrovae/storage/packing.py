"""Nested Python state as tensors and JSON, and back: what an optimiser or a schedule remembers.

Only numbers, text, lists, tuples, mappings and tensors pass, in either direction. What is unpacked is
made of these and of nothing else, whoever wrote it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_DEEPEST = 32


def pack(value: Any, tensors: dict[str, Tensor], prefix: str) -> Any:
    """The value as JSON holds it; tensors in it are put into ``tensors``, not copied.

    Args:
        value: numbers, text, lists, tuples, mappings, tensors and arrays, nested.
        tensors: is given every tensor found, under ``prefix`` and its place in the value.
        prefix: of these names.

    Raises:
        TypeError: something of another kind.

    >>> tensors = {}
    >>> packed = pack({"lr": float("inf"), 0: (1, torch.ones(2))}, tensors, "optim")
    >>> list(tensors)
    ['optim.0.1']
    >>> unpack(packed, tensors)
    {'lr': inf, 0: (1, tensor([1., 1.]))}
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, np.generic):
        value = value.item()
        return pack(value, tensors, prefix)
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        tensors[prefix] = value
        return {"$tensor": prefix}
    if isinstance(value, Counter | Mapping):
        return _pack_mapping(value, tensors, prefix)
    if isinstance(value, list | tuple):
        items = [pack(item, tensors, f"{prefix}.{i}") for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    raise TypeError(
        f"{prefix} holds a {type(value).__name__}, which cannot be saved: numbers, text, lists, mappings "
        "and tensors can"
    )


def _pack_mapping(value: Mapping[Any, Any], tensors: dict[str, Tensor], prefix: str) -> Any:
    if all(isinstance(key, str) and not key.startswith("$") for key in value) and not isinstance(
        value, Counter
    ):
        return {key: pack(item, tensors, f"{prefix}.{key}") for key, item in value.items()}
    pairs = [
        [pack(key, tensors, f"{prefix}.key"), pack(item, tensors, f"{prefix}.{key}")]
        for key, item in value.items()
    ]
    return {"$counter" if isinstance(value, Counter) else "$mapping": pairs}


def unpack(value: Any, tensors: Mapping[str, Tensor], depth: int = 0) -> Any:
    """What `pack` was given.

    Raises:
        ValueError: `pack` did not write this, or a tensor of it is missing.
    """
    if depth > _DEEPEST:
        raise ValueError(f"the saved state is nested more than {_DEEPEST} deep")
    if isinstance(value, list):
        return [unpack(item, tensors, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    mark = next(iter(value), "")
    if not mark.startswith("$"):
        return {key: unpack(item, tensors, depth + 1) for key, item in value.items()}
    inner = value[mark]
    if mark == "$float" and isinstance(inner, str) and inner in _FLOATS:
        return _FLOATS[inner]
    if mark == "$tensor" and isinstance(inner, str) and inner in tensors:
        return tensors[inner]
    if mark == "$tuple" and isinstance(inner, list):
        return tuple(unpack(item, tensors, depth + 1) for item in inner)
    if mark in ("$mapping", "$counter") and _are_pairs(inner):
        found = {unpack(k, tensors, depth + 1): unpack(v, tensors, depth + 1) for k, v in inner}
        return Counter(found) if mark == "$counter" else found
    raise ValueError(f"the saved state holds {mark} where that cannot be")


def referred(packed: Any) -> set[str]:
    """The names of the tensors that a packed value refers to.

    >>> referred({"a": [{"$tensor": "b"}]})
    {'b'}
    """
    found: set[str] = set()
    rest = [packed]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            name = value.get("$tensor")
            found |= {name} if isinstance(name, str) else set()
            rest += value.values()
        elif isinstance(value, list):
            rest += value
    return found


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and not isinstance(pair[0], list | dict)
        for pair in value
    )
