"""The exponential function and rounding to bfloat16 in compiled code, for vectors of 512 bits.

Otherwise the one is a call of a library, for which everything else that is in registers is written to memory
and back; and the other takes fourteen instructions, where a processor that multiplies bfloat16 has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch._inductor.codegen.cpp import CppVecKernel, CppVecOverrides, TilingSelect

from pyrovae.step.panel_products import multiplies_bfloat16
from pyrovae.step.written_products import vector

exp_of_inductor = CppVecOverrides.exp
tiling_of_inductor = TilingSelect.select_tiling
conversion_of_inductor = CppVecKernel.get_to_dtype_expr

# Exp(x) = 2^n exp(r), where n is the nearest whole number to x / log(2), so that r is 0.35 at most, and eight
# terms of a series give it to the last bit. Infinities become numbers whose results are 0 and infinite; the
# order of arguments lets pass what is not a number.
EXP = """[](auto x) {
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
        return str(exp_of_inductor(x))
    return f"({EXP})({x})"


def conversion(kernel: Any, x: Any, dtype: Any, given: Any, rounding: bool = False) -> str:
    """The code of it; two vectors are rounded to one."""
    one = (
        x.is_vec
        and (given, dtype) == (torch.float32, torch.bfloat16)
        and kernel._get_num_vectors(given) == 2
    )
    if not (one and multiplies_bfloat16()):
        return str(conversion_of_inductor(kernel, x, dtype, given, rounding))
    return f"at::vec::Vectorized<at::BFloat16>((__m512i)_mm512_cvtne2ps_pbh({x}[1], {x}[0]))"


def tiling(selection: Any, functions: Any, sizes: Any) -> Any:
    """What Inductor selects, where masks cost nothing: the last few columns are not taken one by one."""
    found = tiling_of_inductor(selection, functions, sizes)
    if vector() == 16 and hasattr(found[-1], "mask_op_count"):
        found[-1].mask_op_count = 0
    return found


@contextmanager
def patched() -> Iterator[None]:
    """In place of Inductor's own."""
    own_exp = patch.object(CppVecOverrides, "exp", staticmethod(exp))
    own_conversion = patch.object(CppVecKernel, "get_to_dtype_expr", conversion)
    with own_exp, own_conversion, patch.object(TilingSelect, "select_tiling", tiling):
        yield
