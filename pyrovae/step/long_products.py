"""Products over many rows in compiled code, as in the gradient of a weight: each thread takes some rows.

A library wants the left side of such a product by rows, which it is not, and has it written anew first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch._inductor.lowering  # noqa: F401  first: the parts below import one another
from torch._inductor import scheduler
from torch._inductor.codegen.cpp import get_export_declaration
from torch._inductor.codegen.cpp_template import CppTemplate
from torch._inductor.cpu_vec_isa import pick_vec_isa
from torch._inductor.kernel.mm_common import mm_args
from torch._inductor.utils import parallel_num_threads

from pyrovae.step.tiles import TILES, parallel, vectors_of

LEAST = 1024  # sums; of fewer, threads have too little to do between two that they add up
LARGEST = (
    256  # rows or columns of the result, of which each thread has its own; a library gains by more
)
APART = hasattr(scheduler, "_is_epilogue_fusion_enabled")  # or what follows would be joined to it
BLOCK = 128  # rows at once, so that a block of the right side stays in the nearest cache

CODE = (
    TILES
    + """
template <int VECTORS>
static inline void {{name}}_block(
    const float* left, const float* right, float* sums, float* block, int64_t depth, int64_t columns) {
    {{name}}_lay_out(right, block, depth, columns);
    int64_t m = {{M}};
    for (; m >= 6; m -= 6, left += 6 * {{strides[0]}}, sums += 6 * {{padded}})
        {{name}}_rows<6, VECTORS, true>(left, block, sums, {{padded}}, depth, {{width}});
    for (; m > 0; --m, left += {{strides[0]}}, sums += {{padded}})
        {{name}}_rows<1, VECTORS, true>(left, block, sums, {{padded}}, depth, {{width}});
}

extern "C" {{export}}
{{kernel.def_kernel(inputs=inputs, outputs={"out": out}, aliases={})}}
{
    {{kernel.maybe_codegen_profile()}}
    const float* left = &{{kernel.index(left, [0, 0])}};
    const float* right = &{{kernel.index(right, [0, 0])}};
    constexpr int64_t size = {{M}} * {{padded}};
    const int64_t threads = std::max<int64_t>({{threads}}, omp_get_max_threads());
    const std::unique_ptr<float[]> all(new float[threads * size]());
    {{parallel}}
    {
        const int64_t thread = omp_get_thread_num(), count = omp_get_num_threads();
        float* sums = all.get() + thread * size;
        const std::unique_ptr<float[]> near(new float[{{block}} * {{M}}]);
        alignas(64) float block[{{block}} * {{width}}];
        const int64_t last = {{K}} * (thread + 1) / count;
        for (int64_t k_start = {{K}} * thread / count; k_start < last; k_start += {{block}}) {
            const int64_t depth = std::min<int64_t>({{block}}, last - k_start);
            for (int64_t k = 0; k < depth; ++k)
                for (int64_t m = 0; m < {{M}}; ++m)
                    near[k * {{M}} + m] = left[m * {{given[0]}} + (k_start + k) * {{given[1]}}];
            {%- for start, vectors in blocks %}
            {{name}}_block<{{vectors}}>(
                near.get(), right + k_start * {{strides[2]}} + {{start * strides[3]}}, sums + {{start}},
                block, depth, {{[N - start, width]|min}});
            {%- endfor %}
        }
        {%- if parallel %}
        #pragma omp barrier
        #pragma omp for schedule(static)
        {%- endif %}
        for (int64_t m = 0; m < {{M}}; ++m)
            for (int64_t n = 0; n < {{N}}; ++n) {
                float sum = 0.0f;
                for (int64_t i = 0; i < count; ++i) sum += all[i * size + m * {{padded}} + n];
                {{kernel.index(out, ["m", "n"])}} = sum;
            }
    }
}
"""
)


def suits(left: Any, right: Any, *, by_columns: bool) -> bool:
    """Whether a product of numbers in single precision is worth it."""
    (rows, inner), columns = left.get_size(), right.get_size()[1]
    enough = inner >= LEAST and max(rows, columns) <= LARGEST
    return bool(APART and by_columns and enough and pick_vec_isa())


class LongProduct(CppTemplate):
    """(M, K) by (K, N), where K is large and the left side lies by columns."""

    def __init__(self, sides: Sequence[Any], layout: Any) -> None:
        super().__init__("long_product", list(sides), layout, parallel_num_threads())

    @classmethod
    def of(cls, left: Any, right: Any) -> Any:
        """The node for it."""
        *_, layout, left, right = mm_args(left, right)
        for side in (left, right):
            side.freeze_layout()
        node: Any = cls([left, right], layout).generate().output_node()
        node.data.data.allow_epilogue_fusion = False  # threads add up last, row by row
        return node

    def render(  # type: ignore[override]
        self,
        kernel: Any,
        template_buffer_node: Any = None,
        epilogue_nodes: Sequence[Any] | None = None,
        **options: Any,
    ) -> str:
        """The code."""
        if epilogue_nodes:
            raise NotImplementedError("what follows a long product is not joined to it")
        left, right = self.input_nodes
        (rows, inner), columns = map(int, left.get_size()), int(right.get_size()[1])
        lanes, vectors = vectors_of(columns)
        out: Any = self.output_node if template_buffer_node is None else template_buffer_node
        width = lanes * vectors
        text: str = self._template_from_string(CODE).render(
            kernel=kernel,
            name=kernel.kernel_name,
            export=get_export_declaration(),
            inputs={"x": left, "w": right},
            left=left,
            right=right,
            out=out,
            strides=[1, rows, *map(int, right.get_stride())],  # of the left side once it is near
            given=list(map(int, left.get_stride())),
            M=rows,
            K=inner,
            N=columns,
            lanes=lanes,
            vectors=vectors,
            width=width,
            blocks=[
                (start, -(-min(width, columns - start) // lanes))
                for start in range(0, columns, width)
            ],
            padded=-(-columns // lanes) * lanes,
            block=BLOCK,
            threads=self.num_threads,
            parallel=parallel(self.num_threads),
        )
        return self.header().getvalue() + text
