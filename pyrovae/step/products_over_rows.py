"""Products of one matrix, turned, by another, summed over the many rows of both: gradients of weights.

Both sides are read where they lie: a library lays them out first, which takes up to a third of the time
where there are few sums of many rows. Each thread takes the rows that it has computed before, which are still
in its cache.
"""

from __future__ import annotations

from typing import Any

import torch
import torch._inductor.lowering  # first: the parts below import one another
from torch._inductor import ir

from pyrovae.step.panel_products import LANES, LEAST, NARROWEST, PANELS
from pyrovae.step.written_products import APART, WrittenProduct, vector

MOST = 2**20  # sums; of more, a library reads both sides fewer times

WHOLE = """
extern "C" {{export}}
{{kernel.def_kernel(inputs=inputs, outputs={"out": out}, aliases={})}}
{
    {{kernel.maybe_codegen_profile()}}
    using namespace pyrovae_panels;
    const Panels panels({{N}});
    const int64_t most = most_parts({{K}}, std::max({{threads}}, omp_get_max_threads()));
    const Lines partial(({{K}} > DEEP || most > 1 ? most : 0) * {{M}} * panels.vectors * LANES);
    {{parallel}}
    product_over_rows(
        &{{kernel.index(left, [0, 0])}}, {{rows[0]}}, &{{kernel.index(right, [0, 0])}}, {{rows[1]}},
        &{{kernel.index(out, [0, 0])}}, {{out_stride}}, {{M}}, {{K}}, {{N}},
        partial.begin, omp_get_thread_num(), omp_get_num_threads());
}
"""


def suits(left: Any, right: Any) -> bool:
    """Whether a product is worth it, of those whose sides both lie by what is summed over."""
    rows, inner, columns = map(int, (*left.get_size(), right.get_size()[1]))
    if left.get_dtype() != torch.float32 or vector() < LANES or not APART:
        return False
    large = rows * inner * columns >= LEAST and min(rows, columns) >= NARROWEST
    return large and rows * columns <= MOST


class ProductOverRows(WrittenProduct):
    """(K, M), turned, by (K, N), in single precision."""

    called = "product_over_rows"
    text = f"{{% raw %}}{PANELS.read_text()}{{% endraw %}}{WHOLE}"

    @classmethod
    def of(cls, left: Any, right: Any) -> Any:
        """The node for it."""
        return super().of(_ordered(left, [0, 1]), _ordered(right, [1, 0]))

    @classmethod
    def followed(cls, dtype: torch.dtype) -> bool:
        """No: sums are whole only after all threads have met."""
        return False

    def values(self, size: tuple[int, int, int], strides: list[tuple[int, int]]) -> dict[str, Any]:
        """Of rows."""
        return {"rows": [strides[0][1], strides[1][0]], "threads": self.num_threads}


def _ordered(side: Any, order: list[int]) -> Any:
    """With numbers beside one another in its dimension of order 0."""
    side = ir.ExternKernel.require_stride_order(ir.ExternKernel.realize_input(side), order)
    if side.get_stride()[order.index(0)] == 1:
        return side
    return ir.ExternKernel.require_stride_order(ir.ExternKernel.copy_input(side), order)
