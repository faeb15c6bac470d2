"""What products that are written out in compiled code are made of."""

from __future__ import annotations

import os

import torch
from torch._inductor import config
from torch._inductor.cpu_vec_isa import pick_vec_isa

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


def vectors_of(columns: int) -> tuple[int, int]:
    """Numbers in a vector, and vectors in a row of a block."""
    lanes = int(pick_vec_isa().nelements(torch.float32))
    return lanes, min(-(-columns // lanes), 4 if lanes >= 16 else 2)


def parallel(threads: int) -> str:
    """As Inductor begins its other loops, which take up another number of threads where it may change."""
    if threads == 1:
        return ""
    fixed = config.cpp.threads > 0 or threads != os.cpu_count()
    return f"#pragma omp parallel num_threads({threads})" if fixed else "#pragma omp parallel"
