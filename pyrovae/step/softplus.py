"""Log(1 + exp(x)) and its slope in compiled code: one exponential for both, and nothing written to memory.

As several operations, Inductor would write what contains an exponential and is used more than once, which
for the pixels of many particles takes longer than the rest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._inductor.lowering import lowerings, make_pointwise
from torch._inductor.virtualized import ops

sigmoid_of_inductor = lowerings[torch.ops.aten.sigmoid.default]


def lowering(x: Any, beta: Any = 1, threshold: Any = 20) -> Any:
    """Of ``aten.softplus`` in single precision, with a beta of 1."""
    return make_pointwise(softplus)(x)


def sigmoid_lowering(x: Any) -> Any:
    """Of ``aten.sigmoid``."""
    if x.get_dtype() != torch.float32 or x.get_device().type != "cpu":
        return sigmoid_of_inductor(x)
    return make_pointwise(sigmoid)(x)


def softplus(x: Any) -> Any:
    """The positive part and log(1 + e) = 2 artanh(e / (2 + e)), where e is exp(-|x|).

    What artanh is taken of is 1/3 at most: a short series gives it to the last bits.
    """
    small, quotient = _parts(x)
    ratio = small * (_number(1.0) + small) * quotient
    square = ratio * ratio
    total = square * _number(2.0 / 15.0) + _number(2.0 / 13.0)
    for odd in (11, 9, 7, 5, 3, 1):
        total = total * square + _number(2.0 / odd)
    return ops.relu(x) + ratio * total


def sigmoid(x: Any) -> Any:
    """1 / (1 + e) or e / (1 + e), from the same parts as the `softplus` of -|x| that cross-entropies take."""
    small, quotient = _parts(ops.neg(ops.abs(x)))
    larger = (_number(2.0) + small) * quotient
    return ops.where(ops.lt(x, _number(0.0)), small * larger, larger)


def _parts(x: Any) -> tuple[Any, Any]:
    """Of both: e = exp(-|x|) and 1 / ((1 + e) (2 + e)), one division in place of two."""
    small = ops.exp(ops.neg(ops.abs(x)))
    return small, ops.reciprocal((_number(1.0) + small) * (_number(2.0) + small))


def _number(value: float) -> Any:
    return ops.constant(value, torch.float32)
