"""Plain values: what YAML and JSON share, and what a configuration may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

MOST_VALUES = 100_000


def mapping(text: str) -> Mapping[str, Any]:
    """What YAML holds, if it may be a configuration.

    Raises:
        ValueError: the text is not YAML, not a mapping, or unfolds to very much.
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"The configuration is not readable YAML: {error}") from error
    if not isinstance(values, Mapping):
        raise ValueError("The configuration must be a mapping such as `model: VAE`.")
    _check_size(values)
    return values


def _check_size(value: Any) -> None:
    """Refuse what a few lines of YAML that refer to each other can unfold to."""
    rest, seen = [value], 0
    while rest:
        seen += 1
        if seen > MOST_VALUES:
            raise ValueError(f"The configuration unfolds to more than {MOST_VALUES} values.")
        inner = rest.pop()
        if isinstance(inner, Mapping):
            rest += inner.values()
        elif isinstance(inner, (list, tuple)):
            rest += inner


def whole_number(name: str, value: Any, *, least: int) -> int:
    """The value, if it is a whole number of at least ``least``.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}; got {value!r}.")
    return value


def is_plain(default: Any) -> bool:
    """Whether a default can be written out; what cannot be is left to the signature it comes from."""
    try:
        plain(default)
    except TypeError:
        return False
    return True


def plain(value: Any) -> Any:
    """The value in the types that YAML and JSON share; equal values become equal text."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"A configuration holds numbers, text and lists; got {value!r}.")
