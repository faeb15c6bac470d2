"""Who takes which matrix product in compiled code: small ones and most large ones are written out.

Others in single precision go to oneDNN, which takes 10 to 50% less time for large ones than the default
library; torch's own dispatch leaves them to the BLAS that it was built with. What takes a product depends on
its shape alone, so that a fit repeats to the bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._inductor.lowering import lowerings
from torch._inductor.mkldnn_ir import LinearUnary
from torch._inductor.virtualized import V

from pyrovae.step import panel_products, products_over_rows, small_products
from pyrovae.step.panel_products import PanelProduct
from pyrovae.step.products_over_rows import ProductOverRows
from pyrovae.step.small_products import SmallProduct

aten = torch.ops.aten
LARGE = 2**22  # products of two numbers; below, a call costs more than this library gains
by_library = lowerings[aten.mm.default]


def lowering(left: Any, right: Any) -> Any:
    """Of ``aten.mm``: (M, K) by (K, N)."""
    (rows, inner), columns = left.get_size(), right.get_size()[1]
    size, dtype = rows * inner * columns, left.get_dtype()
    if left.get_device().type != "cpu" or dtype not in (torch.float32, torch.bfloat16):
        return by_library(left, right)
    if dtype == torch.float32 and size < LARGE and small_products.suits(left, right):
        return SmallProduct.of(left, right)
    across, beside = _strides()
    if (across, beside) == (1, 1) and products_over_rows.suits(left, right):
        return ProductOverRows.of(left, right)
    if panel_products.suits(left, right):
        return PanelProduct.of(left, right)
    if dtype != torch.float32 or size < LARGE:
        return by_library(left, right)
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return by_library(left, right)
    # A left side by columns is written by rows first. Where the right one is smaller, that is, instead.
    if across == 1 and rows * inner > (inner + rows) * columns:
        return _turned(_by_onednn(_turned(right), left))
    return _by_onednn(left, _turned(right))


def _strides() -> tuple[int, int]:
    """From a row of the left side to the next, and from a column of the right one."""
    sides: Any = V.graph.current_node.args
    left, right = (side.meta["val"] for side in sides)
    return left.stride(0), right.stride(1)


def _turned(side: Any) -> Any:
    return lowerings[aten.permute.default](side, [1, 0])


def _by_onednn(left: Any, right: Any) -> Any:
    """(M, K) by the transpose of (N, K)."""
    return type(left).create(Linear.create(left, right, None, "none", [], ""))


class Linear(LinearUnary):
    """Inductor's call of oneDNN, where neither side is a constant.

    Its own asks for sides that lie by rows, and copies others. oneDNN packs the right side in any case, from
    rows or columns alike; a left side by columns, as in the gradient of a weight, is written by rows first,
    by the code that computes it.
    """

    @classmethod
    def create(cls, left: Any, *others: Any) -> Any:
        """As Inductor's own."""
        by_rows = LinearUnary.require_contiguous(cls.realize_input(left))
        return super().create(by_rows, *others)

    @classmethod
    def require_contiguous(cls, side: Any) -> Any:
        """What its own `create` asks of the right side."""
        return cls.require_stride1(side)
