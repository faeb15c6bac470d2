"""Values from files, held against the types of the options that they are for."""

from __future__ import annotations

from argparse import ArgumentError
from typing import Any, get_args

from jsonargparse import ArgumentParser

from pyrovae.registry.plain import plain
from pyrovae.registry.signatures import Option, words


def typed(key: str, option: Option, value: Any) -> Any:
    """A value as its option takes it; numbers in text become numbers, as on the command line.

    Args:
        key: what the option is called, such as ``optim.lr``.
        option: what it takes.
        value: from a file.

    Raises:
        ValueError: it is of another type.

    Example:
        >>> typed("optim.lr", Option("lr", float, 1e-3, ""), "0.01")
        0.01
    """
    if value == option.default:
        return value
    parser = ArgumentParser(exit_on_error=False)
    try:
        parser.add_argument("--value", type=option.type)
    except ValueError:  # a type that cannot be written on a command line
        return value
    sentence = f"{key} must be {words(option.type)}; got {value!r}."
    if value is None and option.type is not Any and type(None) not in get_args(option.type):
        raise ValueError(sentence)  # which the parser takes for no value at all
    try:
        found = parser.parse_object({"value": value}).value
    except ArgumentError as error:
        raise ValueError(sentence) from error
    return value if plain(found) == plain(value) else found
