"""Small matrix products in compiled code: two or three times as fast as a call of a library.

A library looks at sizes and strides, decides and packs at every call. Here the sizes are known when the code
is written, and what follows the product element by element is done while its numbers are in the cache.
"""

from __future__ import annotations

from typing import Any

from pyrovae.step.written_products import WrittenProduct, vector

LEAST = 2**13  # products of two numbers; of fewer, a call takes no longer than waiting for threads
LONGEST = 512  # sums; the right side lies on a thread's stack in blocks of so many rows

TILE = 16  # rows that a thread takes at once

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

template <int ROWS, int VECTORS>
static inline void {{name}}_rows(
    const float* left, const float* block, float* out, int64_t out_row, int64_t depth, int64_t columns) {
    using Vector = {{name}}_vector;
    Vector sums[ROWS][VECTORS];
    #pragma GCC unroll 16
    for (int row = 0; row < ROWS; ++row)
        #pragma GCC unroll 16
        for (int v = 0; v < VECTORS; ++v)
            sums[row][v] = Vector(0.0f);
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

# Each thread takes some rows of the left side.
WHOLE = """
{%- set out_row = width if epilogues else out_stride %}
extern "C" {{export}}
{{kernel.def_kernel(inputs=inputs, outputs={"out": out}, aliases=aliases)}}
{
    {{kernel.maybe_codegen_profile()}}
    const float* left = &{{kernel.index(left, [0, 0])}};
    const float* right = &{{kernel.index(right, [0, 0])}};
    {{parallel}}
    {
        alignas(64) float block[{{K}} * {{width}}];
        {%- if epilogues %}
        {{kernel.define_stack_allocated_buffer("sums", [tile, width])}}
        {%- endif %}
        for (int64_t n_start = 0; n_start < {{N}}; n_start += {{width}}) {
            const int64_t n_end = std::min<int64_t>(n_start + {{width}}, {{N}});
            const int64_t columns = n_end - n_start;
            {{name}}_lay_out(right + n_start * {{strides[3]}}, block, {{K}}, columns);
            {%- if parallel %}
            #pragma omp for schedule(static) nowait
            {%- endif %}
            for (int64_t m_start = 0; m_start < {{M}}; m_start += {{tile}}) {
                const int64_t m_end = std::min<int64_t>(m_start + {{tile}}, {{M}});
                {%- if epilogues %}
                float* into = sums;
                {%- else %}
                float* into = &{{kernel.index(out, ["m_start", "n_start"])}};
                {%- endif %}
                const float* from = left + m_start * {{strides[0]}};
                int64_t m = m_end - m_start;
                for (; m >= 4; m -= 4, from += 4 * {{strides[0]}}, into += 4 * {{out_row}})
                    {{name}}_rows<4, {{vectors}}>(from, block, into, {{out_row}}, {{K}}, columns);
                for (; m > 0; --m, from += {{strides[0]}}, into += {{out_row}})
                    {{name}}_rows<1, {{vectors}}>(from, block, into, {{out_row}}, {{K}}, columns);
                {%- if epilogues %}
                {%- set tile_out = kernel.slice_nd(out, [("m_start", "m_end"), ("n_start", "n_end")]) %}
                {%- set found = kernel.slice_nd(
                    kernel.local_buffers["sums"], [("0", "m_end - m_start"), ("0", "n_end - n_start")]) %}
                {{kernel.store_output(
                    tile_out, found, product, epilogues, ("m_start", "n_start"), reindexers)}}
                {%- endif %}
            }
        }
    }
}
"""


def suits(left: Any, right: Any) -> bool:
    """Whether a product of numbers in single precision is worth it."""
    (rows, inner), columns = left.get_size(), right.get_size()[1]
    products = rows * inner * columns
    return bool(products >= LEAST and rows >= 8 and inner <= LONGEST and vector() > 1)


class SmallProduct(WrittenProduct):
    """(M, K) by (K, N) in single precision, of any strides."""

    called = "small_product"
    text = TILES + WHOLE

    def values(self, size: tuple[int, int, int], strides: list[tuple[int, int]]) -> dict[str, Any]:
        """Of tiles."""
        lanes = vector()
        vectors = min(-(-size[2] // lanes), 4 if lanes >= 16 else 2)
        return {
            "strides": [*strides[0], *strides[1]],
            "lanes": lanes,
            "vectors": vectors,
            "width": lanes * vectors,
            "tile": TILE,
        }
