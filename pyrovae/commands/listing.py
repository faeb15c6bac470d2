"""The parts there are, from the `__all__` of their folders and from their docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from pyrovae.registry import parts
from pyrovae.registry.signatures import first_sentence, read_options, words

KINDS = {
    "models": "model",
    "guides": "guide",
    "objectives": "objective",
    "evidence": "evidence",
    "data": "data",
}


def listing(kinds: Sequence[str] = (), *, long: bool = False) -> str:
    """Every part by its public name, with the first sentence of its docstring.

    Args:
        kinds: only these, of `KINDS`.
        long: with its formula, source and how to read it, and every option with its type and default.

    Raises:
        ValueError: an unknown kind.

    Example:
        >>> "Amortized" in listing(["guides"])
        True
    """
    for kind in kinds:
        if kind not in KINDS:
            guess = parts.did_you_mean(kind, KINDS)
            raise ValueError(f"There is no list of {kind!r}{guess} Known: {', '.join(KINDS)}.")
    blocks = []
    for title in kinds or KINDS:
        names = parts.names(KINDS[title])
        width = max(map(len, names))
        lines = [title]
        for name in names:
            part = parts.resolve(KINDS[title], name)
            lines.append(f"  {name:<{width}}  {first_sentence(part)}")
            if long:
                lines += [f"      {line}".rstrip() for line in explanation(part)]
                lines += [f"      {line}" for line in _options(KINDS[title], name)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def explanation(part: object) -> list[str]:
    """What a docstring of this package says after its first sentence, without options and example.

    Example:
        >>> from pyrovae.objectives import IWAE
        >>> any("math" in line for line in explanation(IWAE))
        True
    """
    if not getattr(part, "__module__", "").startswith("pyrovae."):
        return []
    _, _, body = (inspect.getdoc(part) or "").partition("\n\n")
    kept: list[str] = []
    heading = ""
    for line in body.splitlines():
        if line and not line.startswith(" "):
            heading = line
        if heading not in ("Args:", "Example:"):
            kept.append(line)
    return [*"\n".join(kept).strip().splitlines(), ""]


def _options(kind: str, name: str) -> list[str]:
    found = []
    for option in read_options(parts.resolve(kind, name), parts.options(kind, name)):
        must = option.default is inspect.Parameter.empty
        default = "must be given" if must else f"default {option.default!r}"
        head = f"--{kind}.{option.name}: {words(option.type)}; {default}"
        found.append(f"{head}. {option.help}" if option.help else head)
    return found
