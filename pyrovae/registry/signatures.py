"""What a signature says of an option: its type, its default, and its line of documentation."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from docstring_parser import DocstringStyle, ParseError
from docstring_parser import parse as parse_docstring

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class Option(NamedTuple):
    """One option; the default is `inspect.Parameter.empty` if there is none."""

    name: str
    type: Any
    default: Any
    help: str


def read_options(
    part: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> list[Option]:
    """The options that these parameters of a class or a function are.

    Args:
        part: the class or function.
        parameters: those of its parameters that a user may set.

    Example:
        >>> def area(width: float, *, height: float = 2.0) -> float:
        ...     '''Area of a rectangle.
        ...
        ...     Args:
        ...         height: in metres.
        ...     '''
        ...     return width * height
        >>> read_options(area, {"height": inspect.signature(area).parameters["height"]})
        [Option(name='height', type=<class 'float'>, default=2.0, help='in metres.')]
    """
    hints, lines = _hints(part), _documentation(part)
    return [
        Option(name, hints.get(name, Any), parameter.default, lines.get(name, ""))
        for name, parameter in parameters.items()
    ]


def first_sentence(part: Any) -> str:
    """The first sentence of a docstring, as it is read: without the markup of Sphinx.

    >>> first_sentence(first_sentence)
    'The first sentence of a docstring, as it is read: without the markup of Sphinx.'
    """
    text = inspect.getdoc(part) or ""
    lines = [line.strip().removeprefix("- ") for line in text.partition("\n\n")[0].splitlines()]
    paragraph = re.sub(r":\w+:`~?\\?([^`]*)`", r"\1", " ".join(lines))
    head, dot, _ = paragraph.partition(". ")
    return head + dot.strip()


def words(hint: Any) -> str:
    """A type in words.

    >>> words(int), words(Literal["full", "diagonal"]), words(list[int] | None)
    ('a whole number', 'full or diagonal', 'a list such as [1, 2], or null')
    """
    origin = typing.get_origin(hint)
    if origin is Literal:
        return " or ".join(str(choice) for choice in typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        members = typing.get_args(hint)
        said = dict.fromkeys(words(member) for member in members if member is not type(None))
        return " or ".join(said) + (", or null" if type(None) in members else "")
    if origin is not None and isinstance(origin, type) and issubclass(origin, typing.Iterable):
        return "a list such as [1, 2]"
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _hints(part: Callable[..., Any]) -> dict[str, Any]:
    """Types by name; a parameter whose type cannot be had takes anything."""
    function: Any = part.__init__ if inspect.isclass(part) else part
    try:
        found = typing.get_type_hints(function)
    except (NameError, TypeError):  # a name that exists for type checkers only
        return {}
    return {name: _of_plain_values(hint) for name, hint in found.items()}


def _of_plain_values(hint: Any) -> Any:
    """The type without tensors, which cannot be written on a command line."""
    members = [_of_plain_values(member) for member in typing.get_args(hint)]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kept = [member for member in members if getattr(member, "__name__", "") != "Tensor"]
        return typing.Union[tuple(kept)] if kept else Any  # noqa: UP007
    if typing.get_origin(hint) is tuple and members:
        return tuple[tuple(members)]  # type: ignore[misc]
    return hint


def _documentation(part: Callable[..., Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in (inspect.getdoc(part), inspect.getdoc(getattr(part, "__init__", None))):
        try:
            parsed = parse_docstring(text or "", style=DocstringStyle.GOOGLE)
        except ParseError:
            continue
        for entry in parsed.params:
            found.setdefault(entry.arg_name, " ".join((entry.description or "").split()))
    return found
