"""Large matrix products in compiled code, from panels: a few columns of one side, laid out as they are read.

A library has to look at shapes at every call, and packs what it was given by columns twice. Sums of products
of bfloat16 are taken in single precision by the processor's own instruction for two of them at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch._inductor.lowering  # first: the parts below import one another
from torch._inductor import config, ir, scheduler
from torch._inductor.codegen.cpp_utils import DTYPE_TO_CPP
from torch._inductor.cpu_vec_isa import pick_vec_isa

from pyrovae.step.tiles import WrittenProduct

# Whether what follows can be kept apart: sums are whole only after their last part.
APART = hasattr(scheduler, "_is_epilogue_fusion_enabled")
LANES = 8  # numbers in a vector; of fewer, tiles would have to be of another shape
LEAST = 2**20  # products of two numbers; for fewer, a library takes no more time
NARROWEST = 8  # rows and columns
LAID = 2**20  # numbers of the right side that are laid out at once
TOGETHER = 256  # sums at once, or threads would wait for one another too often
# Sums in parts that are kept meanwhile; with more of them in single precision, a library takes less time.
KEPT = {torch.float32: 2**16, torch.bfloat16: 2**20}
PANELS = Path(__file__).with_name("panels.h")

CODE = """
extern "C" {{export}}
{{kernel.def_kernel(inputs=inputs, outputs={"out": out}, aliases={})}}
{
    {{kernel.maybe_codegen_profile()}}
    using namespace pyrovae_panels;
    const Panels panels({{N}});
    const Lines laid({{most // numbers}} * panels.vectors * LANES);
    const Lines partial({{M if most < K else 0}} * panels.vectors * LANES);
    {{parallel}}
    product<{{type}}, {{by_rows[0]}}, {{by_rows[1]}}>(
        &{{kernel.index(left, [0, 0])}}, {{lines[0]}}, &{{kernel.index(right, [0, 0])}}, {{lines[1]}},
        &{{kernel.index(out, [0, 0])}}, {{out_stride}}, {{M}}, {{K}}, {{N}}, {{most}},
        laid.begin, partial.begin, omp_get_thread_num(), omp_get_num_threads());
}
"""


def suits(left: Any, right: Any) -> bool:
    """Whether a product is worth it, of those that are too large for `pyrovae.step.small_products`."""
    (rows, inner), columns = left.get_size(), right.get_size()[1]
    if rows * inner * columns < LEAST or min(rows, columns) < NARROWEST:
        return False
    if not APART or vector() < LANES:
        return False
    if left.get_dtype() == torch.bfloat16 and not (inner % 2 == 0 and multiplies_bfloat16()):
        return False
    kept = columns <= LAID // TOGETHER and rows * columns <= KEPT[left.get_dtype()]
    return bool(inner * columns <= LAID or kept)


def vector() -> int:
    """Numbers in single precision in a vector of the processor."""
    isa = pick_vec_isa()
    return int(isa.nelements(torch.float32)) if isa else 1


def multiplies_bfloat16() -> bool:
    """Whether the processor multiplies vectors of bfloat16, and libraries have nothing faster."""
    own = torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()
    return own and vector() == 16 and config.cpp.march is None


class PanelProduct(WrittenProduct):
    """(M, K) by (K, N), by rows or columns each, both in single precision or both in bfloat16."""

    called = "panel_product"
    tiles = f"{{% raw %}}{PANELS.read_text()}{{% endraw %}}"

    @classmethod
    def of(cls, left: Any, right: Any) -> Any:
        """The node for it, which nothing that follows is joined to."""
        left, right = map(_lying, (left, right))
        odd = right.get_stride()[1] % 2 and right.get_stride()[1] != 1
        if left.get_dtype() == torch.bfloat16 and odd:  # two are read at once, from even places
            right = ir.ExternKernel.copy_input(right)
        node = super().of(left, right)
        node.data.data.allow_epilogue_fusion = False
        return node

    def render(  # type: ignore[override]
        self, kernel: Any, template_buffer_node: Any = None, **options: Any
    ) -> str:
        """The code."""
        if options.get("epilogue_nodes"):  # or they would be left out
            raise RuntimeError(
                "something was joined to a panel product, which was to be kept apart"
            )
        inner, columns = map(int, self.input_nodes[1].get_size())
        out: Any = self.output_node if template_buffer_node is None else template_buffer_node
        strides = [tuple(map(int, side.get_stride())) for side in self.input_nodes]
        numbers = 4 // out.get_dtype().itemsize
        parts = -(-inner * columns // LAID)
        return self.written(
            CODE,
            kernel,
            out=out,
            out_stride=int(out.get_stride()[0]),
            type=DTYPE_TO_CPP[out.get_dtype()],
            numbers=numbers,
            most=-(-inner // parts // numbers) * numbers,
            by_rows=["true" if line[1] == 1 else "false" for line in strides],
            lines=[line[0] if line[1] == 1 else line[1] for line in strides],
        )


def _lying(side: Any) -> Any:
    """By rows or columns."""
    side = ir.ExternKernel.require_stride1(ir.ExternKernel.realize_input(side))
    side.freeze_layout()
    return side
