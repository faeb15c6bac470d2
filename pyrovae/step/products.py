"""Large matrix products by oneDNN, which takes 10 to 30% less time for them than the default library.

Only compiled code gains: torch's own dispatch leaves products in single precision to the BLAS that it was
built with. Which library takes a product depends on its shape alone, so that a fit repeats to the bit.
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
    """(M, K) by (K, N), or NotImplemented where the default library is as fast.

    That is so for small products, and for those whose left side lies in memory by columns, as in the
    gradient of a weight: oneDNN would copy it first.
    """
    rows, inner = left.shape
    suits = left.dtype == torch.float32 and left.device.type == "cpu" and left.stride(1) == 1
    if not suits or rows * inner * right.shape[1] < LARGE or _node() is None:
        return NotImplemented
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")
    return product


@contextmanager
def lowered() -> Iterator[None]:
    """Let Inductor compile such products where neither side is a constant, as it does for constant ones."""
    node = _node()
    if node is None:
        yield
        return
    from torch._inductor import lowering
    from torch._inductor.ir import TensorBox

    def product(*arguments: Any) -> Any:
        return TensorBox.create(node.create(*arguments))

    with patch.dict(lowering.lowerings, {torch.ops.mkldnn._linear_pointwise.default: product}):
        yield


def _node() -> Any:
    """Inductor's node for the call; None where this torch has no oneDNN, or another Inductor.

    Its own asks for sides that lie by rows, and copies others. oneDNN packs the right side in any case, from
    rows or columns alike.
    """
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return None
    try:
        from torch._inductor.mkldnn_ir import LinearUnary
    except ImportError:
        return None

    class Linear(LinearUnary):
        @classmethod
        def require_contiguous(cls, side: Any) -> Any:
            return cls.require_stride1(side)

    return Linear
