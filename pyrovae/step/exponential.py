"""The exponential function in compiled code, written where it is used.

As a call of a library, which it otherwise is, it takes twice as long, and everything else that is in
registers is written to memory and back for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._inductor.codegen.cpp import CppVecOverrides

from pyrovae.step.written_products import vector

of_inductor = CppVecOverrides.exp

# Exp(x) = 2^n exp(r), where n is the nearest whole number to x / log(2), so that r is 0.35 at most, and eight
# terms of a series give it to the last bit. Infinities become numbers whose results are 0 and infinite; the
# order of arguments lets pass what is not a number.
WRITTEN = """[](auto x) {
    const auto exp = [](__m512 x) {
        x = _mm512_max_ps(_mm512_set1_ps(-200.0f), _mm512_min_ps(_mm512_set1_ps(200.0f), x));
        const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
        __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
        r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
        __m512 sum = _mm512_set1_ps(1.0f / 5040.0f);
        for (const float term : {1.0f / 720.0f, 1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f})
            sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(term));
        return _mm512_scalef_ps(sum, n);
    };
    if constexpr (std::is_same_v<decltype(x), at::vec::Vectorized<float>>) {
        return at::vec::Vectorized<float>(exp(x));
    } else {
        for (int i = 0; i < decltype(x)::size() / 16; ++i) x[i] = exp(x[i]);
        return x;
    }
}"""


def exp(x: Any) -> str:
    """The code of it for a vector."""
    if x.dtype != torch.float32 or vector() != 16:
        return str(of_inductor(x))
    return f"({WRITTEN})({x})"
