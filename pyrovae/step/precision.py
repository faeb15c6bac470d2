"""Large matrix products and convolutions in bfloat16, everything else in the precision of the program."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Precision = Literal["float32", "bfloat16"]

_functional = torch.nn.functional
CONVOLUTIONS = frozenset(
    {
        _functional.conv1d,
        _functional.conv2d,
        _functional.conv_transpose1d,
        _functional.conv_transpose2d,
    }
)
BY_MATRICES = frozenset(
    {
        _functional.linear,
        torch.matmul,
        torch.mm,
        torch.bmm,
        Tensor.matmul,
        Tensor.mm,
        Tensor.bmm,
        Tensor.__matmul__,
        Tensor.__rmatmul__,
    }
)


PRODUCTS = CONVOLUTIONS | BY_MATRICES
LARGE = 2**22  # products of two numbers; a smaller product takes no less time in bfloat16


class ProductsInBfloat16(TorchFunctionMode):
    """Rounds what enters a large product to bfloat16, and gives its result back in the precision it came in.

    Sums inside a product are taken in float32 by the hardware. Activations, log-probabilities, sums over
    dimensions and particles, gradients and parameters stay in float32: unlike under ``torch.autocast``,
    no distribution ever has parameters of 8 bits.

    Example:
        >>> x = torch.full((1, 2**22), 1.001)
        >>> with ProductsInBfloat16():
        ...     print((x @ x.mT) / 2**22, x[:, :2] @ x[:, :2].mT, (x * x).mean())
        tensor([[1.]]) tensor([[2.0040]]) tensor(1.0020)
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else None
        if not isinstance(first, Tensor) or first.dtype != torch.float32:
            return func(*args, **kwargs)
        if func not in PRODUCTS or kwargs.get("out") is not None:
            return func(*args, **kwargs)
        if func in BY_MATRICES and _size(func, *args, **kwargs) < LARGE:
            return func(*args, **kwargs)
        if func is _functional.linear:
            return _linear(*args, **kwargs)
        args, kwargs = tuple(map(_rounded, args)), {k: _rounded(v) for k, v in kwargs.items()}
        return func(*args, **kwargs).float()


def products_in(precision: Precision) -> AbstractContextManager[Any]:
    """A context in which products are taken in this precision."""
    return ProductsInBfloat16() if precision == "bfloat16" else nullcontext()


def _size(func: Any, left: Tensor, *others: Any, **named: Any) -> int:
    """Products of two numbers in one of matrices, of which the second may be named."""
    if func is _functional.linear:
        right: Tensor = others[0] if others else named["weight"]
        return left.numel() * (len(right) if right.dim() > 1 else 1)
    right = next(iter([*others, *named.values()]))
    if func is Tensor.__rmatmul__:
        left, right = right, left
    rows, columns = (left.shape[-2:-1] or (1,))[0], right.shape[-1] if right.dim() > 1 else 1
    batch = torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    return math.prod(batch) * rows * left.shape[-1] * columns


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = _functional.linear(x.bfloat16(), weight.bfloat16()).float()
    return product if bias is None else product + bias


def _rounded(value: Any) -> Any:
    is_number = isinstance(value, Tensor) and value.dtype == torch.float32
    return value.bfloat16() if is_number else value
