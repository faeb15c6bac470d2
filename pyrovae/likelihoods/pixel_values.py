"""Which values pixels may have under a likelihood: what it cannot score is refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pyrovae.likelihoods.base import present_values


def check_binary(x: Tensor) -> None:
    """Refuse values other than 0 and 1.

    Raises:
        ValueError: says between which they lie, and what to do.
    """
    values = present_values(x)
    if not ((values == 0) | (values == 1)).all():
        raise ValueError(
            f"the data have values other than 0 and 1 (from {values.min():g} to {values.max():g}), "
            "which a Bernoulli decoder cannot score: binarise them (form='binary'), or use "
            "likelihood='gaussian' or 'continuous_bernoulli'"
        )


def check_unit_interval(x: Tensor, what: str) -> None:
    """Refuse values outside [0, 1].

    Raises:
        ValueError: says where they lie.
    """
    values = present_values(x)
    if len(values) and (values.min() < 0 or values.max() > 1):
        raise ValueError(
            f"the data lie between {values.min():g} and {values.max():g}, and {what} decoder scores "
            "values from 0 to 1: scale them, or use likelihood='gaussian'"
        )


def validated(
    value: Tensor, validate: Callable[[Tensor], None], check: Callable[[Tensor], None]
) -> None:
    """Validate what is scored, and say by ``check`` what is wrong with it, without a list of it all.

    Args:
        value: what is scored.
        validate: what the distribution itself does.
        check: looks again at what was refused; costs nothing elsewhere.

    Raises:
        ValueError: of ``check``, or of ``validate`` where that has nothing to say.
    """
    try:
        validate(value)
    except ValueError as error:
        refused = error
    else:
        return
    check(value)
    raise refused
