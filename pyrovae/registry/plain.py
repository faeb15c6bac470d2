"""Plain values: what YAML and JSON share, and what a configuration may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import yaml

MOST_VALUES = 100_000
EXPONENT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")


class Loader(yaml.SafeLoader):
    """Reads YAML in which 1e-3 is a number, as YAML 1.2 has it and everybody writes it."""


class Dumper(yaml.SafeDumper):
    """Writes what `Loader` reads."""


for way in (Loader, Dumper):
    way.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))


def to_yaml(values: Mapping[str, Any]) -> str:
    """YAML that `mapping` turns back into equal values.

    >>> mapping(to_yaml({"lr": 1e-3, "name": "1e-3"})) == {"lr": 1e-3, "name": "1e-3"}
    True
    """
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, width=100)


def mapping(text: str) -> Mapping[str, Any]:
    """What YAML holds, if it may be a configuration.

    >>> mapping("lr: 1e-3")
    {'lr': 0.001}

    Raises:
        ValueError: the text is not YAML, not a mapping, or unfolds to very much.
    """
    try:
        values = Loader(text).get_single_data()
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"The configuration is not readable YAML: {error}") from error
    if not isinstance(values, Mapping):
        raise ValueError("The configuration must be a mapping such as `model: VAE`.")
    _check_size(values)
    return values


def read_mapping(file: str) -> Mapping[str, Any]:
    """What a YAML file holds, if it may be a configuration.

    Raises:
        ValueError: it cannot be read, or as `mapping`.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"The configuration {file} cannot be read: {why}.") from error
    return mapping(text)


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
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}")
    return int(value)


def whole_numbers(**values: int) -> None:
    """Refuse what is no whole number of at least 1.

    >>> whole_numbers(features=784, latent=0)
    Traceback (most recent call last):
        ...
    ValueError: latent must be a whole number of at least 1; got 0
    """
    for name, value in values.items():
        whole_number(name, value, least=1)


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
