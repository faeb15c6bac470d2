"""What products that are written out in compiled code are made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch._inductor.lowering  # first: the parts below import one another
from torch._inductor import config
from torch._inductor.codegen.cpp import get_export_declaration
from torch._inductor.codegen.cpp_template import CppTemplate
from torch._inductor.cpu_vec_isa import pick_vec_isa
from torch._inductor.kernel.mm_common import mm_args
from torch._inductor.utils import parallel_num_threads

# Some columns of the right side, laid out one row after another so that strides cost nothing; and some rows
# of the left one by them, with sums that stay in registers.
TILES = """
using {{name}}_vector = at::vec::Vectorized<float>;

static inline void {{name}}_lay_out(const float* right, float* block, int64_t depth, int64_t columns) {
    if (columns < {{width}}) std::fill(block, block + depth * {{width}}, 0.0f);
    for (int64_t k = 0; k < depth; ++k)
        for (int64_t n = 0; n < columns; ++n)
            block[k * {{width}} + n] = right[k * {{strides[2]}} + n * {{strides[3]}}];
}

template <int ROWS, int VECTORS, bool ADD>
static inline void {{name}}_rows(
    const float* left, const float* block, float* out, int64_t out_row, int64_t depth, int64_t columns) {
    using Vector = {{name}}_vector;
    Vector sums[ROWS][VECTORS];
    #pragma GCC unroll 16
    for (int row = 0; row < ROWS; ++row)
        #pragma GCC unroll 16
        for (int v = 0; v < VECTORS; ++v)
            sums[row][v] = ADD ? Vector::loadu(out + row * out_row + v * {{lanes}}) : Vector(0.0f);
    for (int64_t k = 0; k < depth; ++k) {
        Vector values[VECTORS];
        #pragma GCC unroll 16
        for (int v = 0; v < VECTORS; ++v)
            values[v] = Vector::loadu(block + k * {{width}} + v * {{lanes}});
        #pragma GCC unroll 16
        for (int row = 0; row < ROWS; ++row) {
            const Vector factor(left[row * {{strides[0]}} + k * {{strides[1]}}]);
            #pragma GCC unroll 16
            for (int v = 0; v < VECTORS; ++v)
                sums[row][v] = at::vec::fmadd(factor, values[v], sums[row][v]);
        }
    }
    #pragma GCC unroll 16
    for (int row = 0; row < ROWS; ++row)
        #pragma GCC unroll 16
        for (int v = 0; v < VECTORS; ++v) {
            const int64_t count = columns - v * {{lanes}};
            float* at = out + row * out_row + v * {{lanes}};
            if (count >= {{lanes}}) sums[row][v].store(at);
            else if (count > 0) sums[row][v].store(at, static_cast<int>(count));
        }
}
"""


class WrittenProduct(CppTemplate):
    """(M, K) by (K, N) in single precision; what is made of it has a name in the code and a `render`."""

    called: str
    tiles = TILES

    def __init__(self, sides: Sequence[Any], layout: Any) -> None:
        super().__init__(self.called, list(sides), layout, parallel_num_threads())

    @classmethod
    def of(cls, left: Any, right: Any) -> Any:
        """The node for it."""
        *_, layout, left, right = mm_args(left, right)
        for side in (left, right):
            side.freeze_layout()
        return cls([left, right], layout).generate().output_node()

    def written(self, template: str, kernel: Any, **names: Any) -> str:
        """Code after the tiles, with what all have names for and what this one has."""
        left, right = self.input_nodes
        (rows, inner), columns = map(int, left.get_size()), int(right.get_size()[1])
        lanes = int(pick_vec_isa().nelements(torch.float32))
        vectors = min(-(-columns // lanes), 4 if lanes >= 16 else 2)
        common = {
            "kernel": kernel,
            "name": kernel.kernel_name,
            "export": get_export_declaration(),
            "inputs": {"x": left, "w": right},
            "left": left,
            "right": right,
            "strides": [*map(int, left.get_stride()), *map(int, right.get_stride())],
            "M": rows,
            "K": inner,
            "N": columns,
            "lanes": lanes,
            "vectors": vectors,
            "width": lanes * vectors,
            "parallel": parallel(self.num_threads),
        }
        text: str = self._template_from_string(self.tiles + template).render(**{**common, **names})
        return self.header().getvalue() + text


def parallel(threads: int) -> str:
    """As Inductor begins its other loops, which take up another number of threads where it may change."""
    if threads == 1:
        return ""
    fixed = config.cpp.threads > 0 or threads != os.cpu_count()
    return f"#pragma omp parallel num_threads({threads})" if fixed else "#pragma omp parallel"
