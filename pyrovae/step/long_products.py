"""Products over many rows in compiled code, as in the gradient of a weight: each thread takes some rows.

A library wants the left side of such a product by rows, which it is not, and has it written anew first.
"""

from __future__ import annotations

from typing import Any

import torch._inductor.lowering  # noqa: F401  first: the parts below import one another
from torch._inductor import scheduler
from torch._inductor.cpu_vec_isa import pick_vec_isa

from pyrovae.step.tiles import WrittenProduct

LEAST = 1024  # sums; of fewer, threads have too little to do between two that they add up
LARGEST = 256  # rows or columns of the result; with more, a library takes less time
# Whether what follows can be kept apart: threads add up last, row by row.
APART = hasattr(scheduler, "_is_epilogue_fusion_enabled")
BLOCK = 128  # rows at once, so that a block of the right side stays in the nearest cache

CODE = """
{%- set padded = (N + lanes - 1) // lanes * lanes %}
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
            {%- for start in range(0, N, width) %}
            {%- set columns = [N - start, width]|min %}
            {{name}}_block<{{(columns + lanes - 1) // lanes}}>(
                near.get(), right + k_start * {{strides[2]}} + {{start * strides[3]}}, sums + {{start}},
                block, depth, {{columns}});
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


def suits(left: Any, right: Any, *, by_columns: bool) -> bool:
    """Whether a product of numbers in single precision is worth it."""
    (rows, inner), columns = left.get_size(), right.get_size()[1]
    enough = inner >= LEAST and max(rows, columns) <= LARGEST
    return bool(APART and by_columns and enough and pick_vec_isa())


class LongProduct(WrittenProduct):
    """(M, K) by (K, N), where K is large and the left side lies by columns."""

    called = "long_product"

    @classmethod
    def of(cls, left: Any, right: Any) -> Any:
        """The node for it, which nothing that follows is joined to."""
        node = super().of(left, right)
        node.data.data.allow_epilogue_fusion = False
        return node

    def render(  # type: ignore[override]
        self, kernel: Any, template_buffer_node: Any = None, **options: Any
    ) -> str:
        """The code."""
        if options.get("epilogue_nodes"):  # or they would be left out
            raise RuntimeError("something was joined to a long product, which was to be kept apart")
        left, right = self.input_nodes
        rows = int(left.get_size()[0])
        return self.written(
            CODE,
            kernel,
            out=self.output_node if template_buffer_node is None else template_buffer_node,
            strides=[1, rows, *map(int, right.get_stride())],  # of the left side once it is near
            given=list(map(int, left.get_stride())),
            block=BLOCK,
            threads=self.num_threads,
        )
