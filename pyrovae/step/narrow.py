"""Operations taken apart in ways that compiled code is faster for.

Matrix products with a side of a few columns become sums of products, which a compiler joins to what is
around them: a library packs its operands first, which for a latent space of two dimensions takes ten times
as long as the product. Other matrix products are kept, with their bias apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten
FEW = 4
SMOOTH = 20  # threshold of softplus from which it makes no difference in single precision


def mm(left: Tensor, right: Tensor) -> Tensor:
    """(M, K) by (K, N) where K or N is small."""
    rows, inner = left.shape
    columns = right.shape[1]
    if left.dtype == torch.bfloat16:  # its sums are taken in float32
        if inner > FEW and (columns > FEW or rows <= FEW):
            return NotImplemented
        return mm(left.float(), right.float()).bfloat16()
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
    return bias + torch.mm(left, right)


def softplus(x: Tensor, beta: Any = 1, threshold: Any = 20) -> Tensor:
    """The positive part and a rest; in single precision as it is, for `pyrovae.step.softplus`."""
    if beta == 1 and threshold >= SMOOTH and x.dtype == torch.float32:
        return NotImplemented
    return torch.where(x * beta > threshold, x, (x * beta).exp().log1p() / beta)


def binary_cross_entropy_with_logits(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: int = 1,
) -> Tensor:
    """Of every element, with one exponential for two."""
    if reduction != 0 or weight is not None or pos_weight is not None:
        return NotImplemented
    return (1.0 - target) * logits + (-logits).relu() + torch.nn.functional.softplus(-logits.abs())


def softplus_backward(gradient: Tensor, x: Tensor, beta: Any, threshold: Any) -> Tensor:
    """With the exponential that `softplus` takes, so that it is computed once."""
    scaled = x if beta == 1 else x * beta
    share = (-scaled.abs()).exp()
    slope = torch.where(scaled > 0, 1.0, share) * (1.0 + share).reciprocal()
    if threshold < SMOOTH:
        slope = torch.where(scaled > threshold, 1.0, slope)
    return gradient * slope


def power(base: Any, exponent: Tensor) -> Tensor:
    """Of a constant, in double precision, by an exponential, which a compiler does for many at once."""
    if exponent.dtype != torch.float64 or not base > 0:
        return NotImplemented
    return (exponent * math.log(base)).exp()


RULES: dict[Any, Callable[..., Tensor]] = {
    aten.mm.default: mm,
    aten.addmm.default: addmm,
    aten.softplus.default: softplus,
    aten.softplus_backward.default: softplus_backward,
    aten.pow.Scalar: power,
}


class BeforeFunctorch(TorchFunctionMode):
    """Applies the rules for what `torch.func` takes apart itself before a table of rules is asked."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten.binary_cross_entropy_with_logits.default:
            found = binary_cross_entropy_with_logits(*args, **kwargs)
            if found is not NotImplemented:
                return found
        return func(*args, **kwargs)
