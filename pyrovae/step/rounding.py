"""Which results of a step rounding decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyrovae.step.agreement import in_double
from pyrovae.step.random_state import Before

TRIES = 8


def spread_of_rounding(
    step: Callable[[], Sequence[Tensor | None]], start: Before, parameters: Sequence[Tensor]
) -> list[Tensor | None]:
    """How far each result of a step moves where the last digits of parameters are others.

    Where exact arithmetic gives zero, all digits come of rounding, and Adam makes a whole step of them.

    Args:
        step: changes the tensors of ``start``, and returns results.
        start: where every step begins, and where all is put back to.
        parameters: those of its tensors whose digits are changed.

    Returns:
        For each result the largest difference between two of some steps, or None.
    """
    signs = torch.Generator().manual_seed(0)
    least: list[Tensor | None] = []
    most: list[Tensor | None] = []
    for _ in range(TRIES):
        start.restore()
        with torch.no_grad():
            for p in parameters:
                sign = torch.randint(2, p.shape, generator=signs, dtype=torch.int8).to(p.device)
                p.mul_(1 + torch.finfo(p.dtype).eps * (8 * sign - 4))
        came = [None if t is None else in_double(t).clone() for t in step()]
        least = _each(torch.minimum, least or came, came)
        most = _each(torch.maximum, most or came, came)
    start.restore()
    return _each(torch.sub, most, least)


def _each(
    function: Callable[[Tensor, Tensor], Tensor],
    here: Sequence[Tensor | None],
    there: Sequence[Tensor | None],
) -> list[Tensor | None]:
    pairs = zip(here, there, strict=True)
    return [None if a is None or b is None else function(a, b) for a, b in pairs]
