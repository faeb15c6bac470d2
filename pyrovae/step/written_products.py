"""Matrix products that are written out in compiled code, and what is done with their elements one by one."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
import torch._inductor.lowering  # first: the parts below import one another
from torch._inductor import config, ir, scheduler
from torch._inductor.choices import InductorChoices
from torch._inductor.codegen.cpp import get_export_declaration
from torch._inductor.codegen.cpp_gemm_template import gen_2d_view_of_epilogue_buf
from torch._inductor.codegen.cpp_template import CppTemplate
from torch._inductor.cpu_vec_isa import pick_vec_isa
from torch._inductor.kernel.mm_common import mm_args
from torch._inductor.utils import parallel_num_threads
from torch._inductor.virtualized import V

# Whether what follows a product can be kept apart.
APART = hasattr(scheduler, "_is_epilogue_fusion_enabled")
score_of_inductor: Any = getattr(InductorChoices, "score_fusion", None)


class WrittenProduct(CppTemplate):
    """(M, K) by (K, N). What is made of it has a name in the code, a text, and values that it needs."""

    called: str
    text: str
    first = False  # whether what alone needs it is joined to it before other loops are joined

    def __init__(self, sides: Sequence[Any], layout: Any) -> None:
        super().__init__(self.called, list(sides), layout, parallel_num_threads())

    @classmethod
    def of(cls, left: Any, right: Any) -> Any:
        """The node for it."""
        *_, layout, left, right = mm_args(left, right)
        for side in (left, right):
            side.freeze_layout()
        node = cls([left, right], layout).generate().output_node()
        node.data.data.allow_epilogue_fusion = cls.followed(left.get_dtype())
        return node

    @classmethod
    def followed(cls, dtype: torch.dtype) -> bool:
        """Whether it has a place for what is done with its elements."""
        return True

    @abstractmethod
    def values(self, size: tuple[int, int, int], strides: list[tuple[int, int]]) -> dict[str, Any]:
        """What the text needs beside what all have: rows, sums and columns, and how far these are apart."""

    def render(  # type: ignore[override]
        self,
        kernel: Any,
        template_buffer_node: Any = None,
        flag_template_buffer_has_other_users: bool | None = None,
        epilogue_nodes: Sequence[Any] | None = None,
        **options: Any,
    ) -> str:
        """The code."""
        dtype = self.input_nodes[0].get_dtype()
        if epilogue_nodes and not self.followed(dtype):  # or they would be left out
            raise RuntimeError(
                f"something was joined to a {self.called}, which was to be kept apart"
            )
        whole: Any = self.output_node if template_buffer_node is None else template_buffer_node
        product, last, out, reindexers = _followed(
            whole, list(epilogue_nodes or ()), bool(flag_template_buffer_has_other_users)
        )
        left, right = self.input_nodes
        (rows, inner), columns = map(int, left.get_size()), int(right.get_size()[1])
        strides: Any = [tuple(map(int, side.get_stride())) for side in (left, right)]
        common = {
            "kernel": kernel,
            "name": kernel.kernel_name,
            "export": get_export_declaration(),
            "inputs": {"x": left, "w": right},
            "aliases": {product.get_name(): last[-1].get_name()} if last else {},
            "left": left,
            "right": right,
            "out": out,
            "product": product,
            "epilogues": last,
            "reindexers": reindexers,
            "out_stride": int(out.get_stride()[0]),
            "M": rows,
            "K": inner,
            "N": columns,
            "parallel": parallel(self.num_threads),
        }
        values = self.values((rows, inner, columns), strides)
        with patch.object(V.graph, "get_dtype", self._fake_get_dtype(product)):
            text: str = self._template_from_string(self.text).render(**common, **values)
        return self.header().getvalue() + text


def score(scheduling: Any, first: Any, second: Any) -> Any:
    """Of Inductor, for joining two; highest where a product need not be written then."""
    found = score_of_inductor(scheduling, first, second)
    if not first.is_template() or second.is_template():
        return found
    if not getattr(first.get_template_node().template, "first", False):
        return found
    users = {
        user.get_name()
        for output in first.get_outputs()
        for user in output.users
        if not user.is_weak  # does not read it
    }
    alone = users <= second.get_operation_names()
    return replace(found, template_score=found.template_score + 2) if alone else found


@contextmanager
def joined_first() -> Iterator[None]:
    """In place of Inductor's own order, where it has one."""
    own = patch.object(InductorChoices, "score_fusion", staticmethod(score))
    with own if score_of_inductor else nullcontext():
        yield


def vector() -> int:
    """Numbers in single precision in a vector of the processor; 1 if compiled code does without."""
    isa = pick_vec_isa()
    return int(isa.nelements(torch.float32)) if isa else 1


def parallel(threads: int) -> str:
    """As Inductor begins its other loops, which take up another number of threads where it may change."""
    if threads == 1:
        return ""
    fixed = config.cpp.threads > 0 or threads != os.cpu_count()
    return f"#pragma omp parallel num_threads({threads})" if fixed else "#pragma omp parallel"


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
