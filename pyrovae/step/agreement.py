"""Whether two ways to the same numbers arrive at the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


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
    share: float = 0.05,
) -> bool:
    """Whether compiled code does the same: its rounding is its own, and Adam makes much of a little.

    Args:
        expected: results, and last the tensors that were changed.
        came: the same from the other way.
        before: the tensors that were changed, as they were.
        share: how much of a change may differ, by norm.
    """
    changed = len(expected) - len(before)
    starts = [None] * changed + list(before)
    for one, other, start in zip(expected, came, starts, strict=True):
        if one is None or other is None:
            if one is not other:
                return False
            continue
        if one.shape != other.shape or not torch.equal(one.isfinite(), other.isfinite()):
            return False
        here, there = one.detach().double().nan_to_num(), other.detach().double().nan_to_num()
        moved = 0.0 if start is None else (here - start.double().nan_to_num()).norm().item()
        if (here - there).norm().item() > share * moved + 1e-4 * here.norm().item() + 1e-12:
            return False
    return True
