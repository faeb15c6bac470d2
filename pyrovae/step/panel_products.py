"""Large matrix products in compiled code, from panels: a few columns of one side, laid out as they are read.

A library has to look at shapes at every call, and packs what it was given by columns twice. Sums of products
of bfloat16 are taken in single precision by the processor's own instruction for two of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch._inductor.lowering  # first: the parts below import one another
from torch._inductor import config, ir
from torch._inductor.codegen.cpp_utils import DTYPE_TO_CPP
from torch._inductor.virtualized import V

from pyrovae.step.written_products import APART, WrittenProduct, vector

LANES = 8  # numbers in a vector; of fewer, tiles would have to be of another shape
LEAST = 2**20  # products of two numbers; for fewer, a library takes no more time
NARROWEST = 8  # rows and columns
WIDE = 3  # vectors of a panel, as in panels.h
# Words of the right side that are laid out at once where it is in parts. Twice as many are not worth parts,
# nor four times as many where the sums that would have to be kept are too many.
LAID = 2**18
TOGETHER = 256  # words of a column in a part, or threads would wait for one another too often
# Sums that are kept from part to part; with more of them in single precision, a library takes less time.
KEPT = {torch.float32: 2**17, torch.bfloat16: 2**20}
PANELS = Path(__file__).with_name("panels.h")

# What follows is written for each width of a tile: loops of a known length take half the time of others.
WHOLE = """
extern "C" {{export}}
{{kernel.def_kernel(inputs=inputs, outputs={"out": out}, aliases=aliases)}}
{
    {{kernel.maybe_codegen_profile()}}
    using namespace pyrovae_panels;
    const Panels panels({{N}});
    const Lines laid({{most // numbers}} * panels.vectors * LANES);
    const Lines partial({{M if most < K else 0}} * panels.vectors * LANES);
    {{parallel}}
    {
        {%- if epilogues %}
        {{kernel.define_stack_allocated_buffer("tile", [tall, wide])}}
        const auto followed = [&](int64_t m_start, int64_t m_end, int64_t n_start, int64_t n_end) {
            {%- for width in widths %}
            if (n_end - n_start == {{width}}) {
                {%- set there = kernel.slice_nd(
                    out, [("m_start", "m_end"), ("n_start", "n_start + " ~ width)]) %}
                {%- set found = kernel.slice_nd(
                    kernel.local_buffers["tile"], [("0", "m_end - m_start"), ("0", width ~ "")]) %}
                {{kernel.store_output(
                    there, found, product, epilogues, ("m_start", "n_start"), reindexers)}}
            }
            {%- endfor %}
        };
        const auto ahead = [&](int64_t m_start, int64_t m_end, int64_t n_start, int64_t n_end) {
            {%- for side, bytes in read_ahead(kernel, epilogues, product) %}
            for (int64_t m = m_start; m < m_end; ++m)
                fetch({{side}} + m * {{N}} + n_start, {{bytes}} * (n_end - n_start));
            {%- endfor %}
        };
        {%- endif %}
        product<{{type}}, {{by_rows[0]}}, {{by_rows[1]}}>(
            &{{kernel.index(left, [0, 0])}}, {{lines[0]}}, &{{kernel.index(right, [0, 0])}}, {{lines[1]}},
            {{"tile, " ~ wide if epilogues else "&" ~ kernel.index(out, [0, 0]) ~ ", " ~ out_stride}},
            {{M}}, {{K}}, {{N}}, {{most}},
            laid.begin, partial.begin, omp_get_thread_num(), omp_get_num_threads(),
            {{"Follow{ahead, followed}" if epilogues else "Nothing()"}});
    }
}
"""


def suits(left: Any, right: Any) -> bool:
    """Whether a product is worth it, of those that are too large for `pyrovae.step.small_products`."""
    rows, inner, columns = map(int, (*left.get_size(), right.get_size()[1]))
    if rows * inner * columns < LEAST or min(rows, columns) < NARROWEST:
        return False
    if not APART or vector() < LANES:
        return False
    if left.get_dtype() == torch.bfloat16 and not (inner % 2 == 0 and multiplies_bfloat16()):
        return False
    return parts(rows, inner, columns, left.get_dtype()) > 0


def parts(rows: int, inner: int, columns: int, dtype: torch.dtype) -> int:
    """In how many parts the right side is laid out; 0 where a library takes less time."""
    words = inner * columns * dtype.itemsize // 4
    if rows * columns <= KEPT[dtype] and columns <= LAID // TOGETHER:
        return -(-words // LAID) if words > 2 * LAID else 1
    return int(words <= 4 * LAID)


def widths(columns: int) -> list[int]:
    """All that tiles may have, however many threads take columns apart."""
    whole = {vectors * vector() for vectors in range(1, WIDE + 1)}
    missing = -columns % vector()
    return sorted({width for some in whole for width in (some, some - missing) if width <= columns})


def read_ahead(kernel: Any, nodes: Sequence[Any], product: Any) -> list[tuple[str, int]]:
    """What is read where the product is written: names in the code, and bytes of a number."""
    names = {name for node in nodes for name in node.get_read_names()}
    found = []
    for name in sorted(names & set(kernel.args.input_buffers)):
        buffer = V.graph.try_get_buffer(name)
        if buffer is not None and buffer.get_numel() == product.get_numel():
            found.append((kernel.args.input_buffers[name], buffer.get_dtype().itemsize))
    return found


def multiplies_bfloat16() -> bool:
    """Whether the processor multiplies vectors of bfloat16, and libraries have nothing faster."""
    own = torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()
    return own and vector() == 16 and config.cpp.march is None


class PanelProduct(WrittenProduct):
    """(M, K) by (K, N), by rows or columns each, both in single precision or both in bfloat16."""

    called, first = "panel_product", True  # large as it is
    text = f"{{% raw %}}{PANELS.read_text()}{{% endraw %}}{WHOLE}"

    @classmethod
    def of(cls, left: Any, right: Any) -> Any:
        """The node for it."""
        left, right = map(_lying, (left, right))
        odd = right.get_stride()[1] % 2 and right.get_stride()[1] != 1
        if left.get_dtype() == torch.bfloat16 and odd:  # two are read at once, from even places
            right = ir.ExternKernel.copy_input(right)
        return super().of(left, right)

    @classmethod
    def followed(cls, dtype: torch.dtype) -> bool:
        """In single precision: rows of a tile are too short for vectors of numbers of half the bits."""
        return dtype == torch.float32

    def values(self, size: tuple[int, int, int], strides: list[tuple[int, int]]) -> dict[str, Any]:
        """Of panels."""
        left: Any = self.input_nodes[0]
        dtype = left.get_dtype()
        numbers = 4 // dtype.itemsize
        return {
            "type": DTYPE_TO_CPP[dtype],
            "numbers": numbers,
            "tall": vector() // 2,
            "wide": WIDE * vector(),
            "widths": widths(size[2]),
            "read_ahead": read_ahead,
            "most": -(-size[1] // parts(*size, dtype) // numbers) * numbers,
            "by_rows": ["true" if line[1] == 1 else "false" for line in strides],
            "lines": [line[0] if line[1] == 1 else line[1] for line in strides],
        }


def _lying(side: Any) -> Any:
    """By rows or columns."""
    side = ir.ExternKernel.require_stride1(ir.ExternKernel.realize_input(side))
    side.freeze_layout()
    return side
