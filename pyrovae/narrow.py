"""Matrix products with a side of a few columns, as arithmetic that a compiler joins to its neighbours.

A library's matrix product packs its operands first, which for a latent space of two dimensions takes
ten times as long as the product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
FEW = 4


def mm(left: Tensor, right: Tensor) -> Tensor:
    """(M, K) by (K, N) where K or N is small."""
    rows, inner = left.shape
    columns = right.shape[1]
    if inner <= FEW:
        total = left[:, 0:1] * right[0:1]
        for k in range(1, inner):
            total = total + left[:, k : k + 1] * right[k : k + 1]
        return total
    if columns <= FEW and rows > FEW:
        return torch.stack([(left * right[:, n]).sum(1) for n in range(columns)], 1)
    return NotImplemented


def addmm(bias: Tensor, left: Tensor, right: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """Bias plus (M, K) by (K, N)."""
    if beta != 1 or alpha != 1:
        return NotImplemented
    product = mm(left, right)
    return product if product is NotImplemented else bias + product


NARROW: dict[Any, Callable[..., Tensor]] = {aten.mm.default: mm, aten.addmm.default: addmm}
