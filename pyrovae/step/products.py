"""Large matrix products by oneDNN, which takes 10 to 50% less time for them than the default library.

Half, where the default keeps to vectors of 256 bits on a processor that has wider ones. Only compiled code
gains: torch's own dispatch leaves products in single precision to the BLAS that it was built with. Which
library takes a product depends on its shape alone, so that a fit repeats to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

LARGE = 2**22  # products of two numbers; below, the call costs more than the library gains


def by_onednn(left: Tensor, right: Tensor) -> Tensor:
    """(M, K) by (K, N), or NotImplemented for small products: the default library is as fast for them."""
    (rows, inner), columns = left.shape, right.shape[1]
    suits = left.dtype == torch.float32 and left.device.type == "cpu"
    if not suits or rows * inner * columns < LARGE or _node() is None:
        return NotImplemented
    product = torch.ops.mkldnn._linear_pointwise
    # A left side by columns is written by rows first. Where the right one is smaller, that is, instead.
    if left.stride(1) != 1 and rows * inner > (inner + rows) * columns:
        return product(right.t(), left, None, "none", [], "").t()
    return product(left, right.t(), None, "none", [], "")


@contextmanager
def lowered() -> Iterator[None]:
    """Let Inductor compile such products where neither side is a constant, as it does for constant ones.

    And let sums after a product be: Inductor has libraries add them, which copy what is added first.
    """
    node = _node()
    if node is None:
        yield
        return
    from torch._inductor import lowering
    from torch._inductor.fx_passes import post_grad
    from torch._inductor.ir import TensorBox

    def product(*arguments: Any) -> Any:
        return TensorBox.create(node.create(*arguments))

    products = {torch.ops.mkldnn._linear_pointwise.default: product}
    apart = patch.object(post_grad, "should_prefer_unfused_addmm", lambda match: True, create=True)
    with patch.dict(lowering.lowerings, products), apart:
        yield


def _node() -> Any:
    """Inductor's node for the call; None where this torch has no oneDNN, or another Inductor.

    Its own asks for sides that lie by rows, and copies others. oneDNN packs the right side in any case, from
    rows or columns alike; a left side by columns, as in the gradient of a weight, is written by rows first,
    by the code that computes it.
    """
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return None
    try:
        from torch._inductor.mkldnn_ir import LinearUnary
    except ImportError:
        return None

    class Linear(LinearUnary):
        @classmethod
        def create(cls, left: Any, *others: Any) -> Any:
            by_rows = LinearUnary.require_contiguous(cls.realize_input(left))
            return super().create(by_rows, *others)

        @classmethod
        def require_contiguous(cls, side: Any) -> Any:
            return cls.require_stride1(side)

    return Linear
