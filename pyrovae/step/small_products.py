"""Small matrix products in compiled code: two or three times as fast as a call of a library.

A library looks at sizes and strides, decides and packs at every call. Here the sizes are known when the code
is written, and what follows the product element by element is done while its numbers are in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import torch._inductor.lowering  # noqa: F401  first: the parts below import one another
from torch._inductor import ir
from torch._inductor.codegen.cpp_gemm_template import gen_2d_view_of_epilogue_buf
from torch._inductor.cpu_vec_isa import pick_vec_isa
from torch._inductor.virtualized import V

from pyrovae.step.tiles import WrittenProduct

LEAST = 2**13  # products of two numbers; of fewer, a call takes no longer than waiting for threads
LONGEST = 512  # sums; the right side lies on a thread's stack in blocks of so many rows

TILE = 16  # rows that a thread takes at once

# Each thread takes some rows of the left side.
CODE = """
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
                    {{name}}_rows<4, {{vectors}}, false>(from, block, into, {{out_row}}, {{K}}, columns);
                for (; m > 0; --m, from += {{strides[0]}}, into += {{out_row}})
                    {{name}}_rows<1, {{vectors}}, false>(from, block, into, {{out_row}}, {{K}}, columns);
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
    return bool(products >= LEAST and rows >= 8 and inner <= LONGEST and pick_vec_isa())


class SmallProduct(WrittenProduct):
    """(M, K) by (K, N), of any strides, and what is done with its elements one by one."""

    called = "small_product"

    def render(  # type: ignore[override]
        self,
        kernel: Any,
        template_buffer_node: Any = None,
        flag_template_buffer_has_other_users: bool | None = None,
        epilogue_nodes: Sequence[Any] | None = None,
        **options: Any,
    ) -> str:
        """The code."""
        whole: Any = self.output_node if template_buffer_node is None else template_buffer_node
        product, last, out, reindexers = _followed(
            whole, list(epilogue_nodes or ()), bool(flag_template_buffer_has_other_users)
        )
        with patch.object(V.graph, "get_dtype", self._fake_get_dtype(product)):
            return self.written(
                CODE,
                kernel,
                aliases={product.get_name(): last[-1].get_name()} if last else {},
                out=out,
                product=product,
                epilogues=last,
                reindexers=reindexers,
                out_stride=int(out.get_stride()[0]),
                tile=TILE,
            )


def _followed(whole: Any, nodes: list[Any], shared: bool) -> tuple[Any, list[Any], Any, list[Any]]:
    """The product, what is done with its elements, where they go in the end, and how these are counted."""
    if not nodes:
        return whole, [], whole, []
    product, first = whole, []
    if shared:
        product = ir.Buffer(name=f"{whole.get_name()}_product", layout=whole.layout)
        first = [_copy(product, whole.get_name())]
    reindexers: list[Any] = [None] * len(first)
    for node in nodes:  # each has a shape of its own
        out, found = gen_2d_view_of_epilogue_buf(node, whole, [node], [], [None])
        reindexers += found
    return product, first + nodes, out, reindexers


def _copy(product: Any, name: str) -> Any:
    """The product itself, where it is needed beside what is done with it."""
    load = product.make_loader()
    same = ir.Pointwise(
        device=product.get_device(),
        dtype=product.get_dtype(),
        inner_fn=load,
        ranges=product.get_size(),
    )
    return ir.ComputedBuffer(name=name, layout=product.layout, data=same)
