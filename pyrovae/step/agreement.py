"""Whether two ways to the same numbers arrive at the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SHARE = 0.05  # of a change, by norm, that compiled code may differ in
ALMOST_ALL = 0.95  # of a tensor's numbers: where rounding decides these, it decides the others


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the numbers of some tensors as they are now."""
    return [tensor.detach().clone() for tensor in tensors]


@torch.no_grad()
def put_back(tensors: Sequence[Tensor], numbers: Sequence[Tensor]) -> None:
    """Give tensors the numbers of others, in place."""
    for tensor, copy in zip(tensors, numbers, strict=True):
        tensor.copy_(copy)


def sound(outputs: Sequence[Tensor | None], *, wait: bool = False) -> bool:
    """Whether the first result, a loss, is finite; on an accelerator to ask is to wait, and it counts as so.

    Example:
        >>> sound([torch.tensor(1.0)]), sound([torch.tensor(math.inf)])
        (True, False)
    """
    loss = outputs[0]
    return loss is None or not (loss.is_cpu or wait) or math.isfinite(loss.item())


def same_numbers(expected: Sequence[Tensor | None], came: Sequence[Tensor | None]) -> bool:
    """Whether two lists of tensors hold the same numbers, but for the order in which a sum was taken.

    Example:
        >>> same_numbers([torch.tensor([1.0])], [torch.tensor([1.0 + 1e-7])])
        True
        >>> same_numbers([torch.tensor([1.0])], [torch.tensor([1.0001])])
        False
    """
    for one, other in zip(expected, came, strict=True):
        if one is None or other is None:
            if one is not other:
                return False
        elif not (torch.equal(one, other) or _close(one, other)):
            return False
    return True


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype or not one.is_floating_point():
        return False
    finite = one.detach()[one.isfinite()]
    size = finite.abs().max().item() if finite.numel() else 0.0
    tolerance = 64 * torch.finfo(one.dtype).eps * size
    return torch.allclose(one, other, rtol=0.0, atol=tolerance, equal_nan=True)


def matches(
    expected: Sequence[Tensor | None],
    came: Sequence[Tensor | None],
    before: Sequence[Tensor],
    spread: Sequence[Tensor | None] = (),
) -> bool:
    """Whether compiled code does the same: its rounding is its own, and Adam makes much of a little.

    Args:
        expected: results, and last the tensors that were changed.
        came: the same from the other way.
        before: the tensors that were changed, as they were.
        spread: how far rounding moves each of the expected numbers, as `spread_of_rounding` finds it. Those
            that it decides, such as the gradient of a bias before a batch normalisation, which is zero
            but for rounding, need have the same size alone.
    """
    starts = [None] * (len(expected) - len(before)) + list(before)
    spreads = list(spread) or [None] * len(expected)
    for one, other, start, loose in zip(expected, came, starts, spreads, strict=True):
        if one is None or other is None:
            if one is not other:
                return False
        elif not _matches(one, other, start, loose):
            return False
    return True


def _matches(one: Tensor, other: Tensor, start: Tensor | None, spread: Tensor | None) -> bool:
    if one.shape != other.shape or not torch.equal(one.isfinite(), other.isfinite()):
        return False
    here, there = in_double(one), in_double(other)
    moved = torch.zeros_like(here) if start is None else here - in_double(start)
    off, allowed = here - there, SHARE * moved.norm() + 1e-4 * here.norm() + 1e-12
    if spread is None or off.norm() <= allowed:
        return bool(off.norm() <= allowed)
    if start is not None and torch.equal(there, in_double(start)):
        return False  # it was not moved at all
    decided = spread > SHARE * (here if start is None else moved).abs()
    if decided.double().mean() > ALMOST_ALL:  # those that did not show it have the same reason
        decided = torch.ones_like(decided)
    within = 3 * (moved.abs() + spread)[decided].norm()
    return bool(off[~decided].norm() <= allowed and off[decided].norm() <= within)


def in_double(tensor: Tensor) -> Tensor:
    """The numbers of a tensor in float64, those that are none as zero."""
    return tensor.detach().double().nan_to_num()
