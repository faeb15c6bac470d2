"""From functions of tensors to one compiled function, by torch's Inductor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, fx

from pyrovae.parameters.own import TURN
from pyrovae.step.narrow import RULES, BeforeFunctorch
from pyrovae.step.noise import is_draw, take_out_noise

aten = torch.ops.aten
Lowered = Callable[[list[Tensor]], Sequence[Tensor | None]]


class CannotCompileError(Exception):
    """The compiler is missing or failed; the message says why."""


def lower(function: Callable[..., list[Tensor | None]], inputs: Sequence[Tensor]) -> Lowered:
    """Compile a function of tensors.

    Args:
        function: takes tensors one by one and returns a list; may change its inputs in place.
        inputs: what it will be called with, or tensors of the same shapes and types.

    Returns:
        The compiled function of a list of tensors. It draws the same random numbers.

    Raises:
        CannotCompileError: there is no C++ compiler, or the function is beyond this one.
    """
    try:
        with TURN, torch.no_grad():  # what Inductor is told meanwhile, it is told for all threads
            module = without_mutation(function, inputs)
            draw = take_out_noise(module)
            compiled = _inductor(module)
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise CannotCompileError(f"{type(error).__name__}: {lines[0] if lines else ''}") from error
    if draw is None:
        return compiled

    def with_noise(tensors: list[Tensor]) -> Sequence[Tensor | None]:
        return compiled([*tensors, *draw()])

    return with_noise


def without_mutation(
    function: Callable[..., list[Tensor | None]], inputs: Sequence[Tensor]
) -> fx.GraphModule:
    """Record a function as a graph of basic operations; changes of its inputs come last, as copies."""
    from torch._inductor.decomposition import select_decomp_table
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    with _settings():
        basic = dict(select_decomp_table())
    # A draw that is taken apart is another draw.
    basic = {
        op: rule
        for op, rule in basic.items()
        if torch.Tag.nondeterministic_seeded not in getattr(op, "tags", ())
    }
    basic.update(RULES)
    mode = FakeTensorMode(shape_env=ShapeEnv())
    fakes = [mode.from_tensor(tensor.detach(), static_shapes=True) for tensor in inputs]
    pure = torch.func.functionalize(function, remove="mutations")
    with mode, BeforeFunctorch():
        module: fx.GraphModule = make_fx(pure, decomposition_table=basic)(*fakes)
    module.graph.set_codegen(fx.graph.CodeGen())
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _inductor(module: fx.GraphModule) -> Lowered:
    from torch._guards import TracingContext, tracing
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.virtualized import V

    from pyrovae.step.row_weights import rearrange

    fakes = [node.meta["val"] for node in module.graph.nodes if node.op == "placeholder"]
    context = TracingContext(fakes[0].fake_mode)
    on_cpu = all(fake.device.type == "cpu" for fake in fakes)
    if on_cpu:
        rearrange(module.graph)
        module.recompile()  # the code by which Inductor finds a graph in its cache on disk
    # What draws random numbers is called through Python.
    in_cpp = on_cpu and not any(map(is_draw, module.graph.nodes))
    with (
        _settings(cpp_wrapper=in_cpp),
        _own_lowerings(),
        tracing(context),
        V.set_real_inputs(fakes),
    ):
        compiled: Any = compile_fx_inner(module, fakes, cpp_wrapper=in_cpp)
    # What the object calls in its turn, after it has looked whether somebody profiles.
    called: Lowered = getattr(compiled, "current_callable", None) or compiled
    return called


@contextmanager
def _own_lowerings() -> Iterator[None]:
    """Let Inductor write products, exp, softplus and its slope as we do, where it has what they are made of.

    And let sums after a product be: Inductor has libraries add them, which copy what is added first.
    """
    from torch._inductor import lowering
    from torch._inductor.fx_passes import post_grad

    from pyrovae.step import softplus

    own: dict[Any, Any] = {
        aten.softplus.default: softplus.lowering,
        aten.sigmoid.default: softplus.sigmoid_lowering,
    }
    modules = [softplus]
    vectors: Any = nullcontext()
    first: Any = nullcontext()
    try:
        from pyrovae.step import (
            panel_products,
            products,
            products_over_rows,
            small_products,
            vector_code,
            written_products,
        )
    except ImportError:  # another version of it
        pass
    else:
        own[aten.mm.default] = products.lowering
        vectors, first = vector_code.patched(), written_products.joined_first()
        modules += [
            panel_products,
            products,
            products_over_rows,
            small_products,
            vector_code,
            written_products,
        ]
    apart = patch.object(post_grad, "should_prefer_unfused_addmm", lambda match: True, create=True)
    tag = f"{torch.compiler.config.cache_key_tag} {_digest(*modules)}"
    cached = patch.object(torch.compiler.config, "cache_key_tag", tag)
    with patch.dict(lowering.lowerings, own), vectors, first, apart, cached:
        yield


def _digest(*modules: ModuleType) -> str:
    """Of their code, and the processor it is for: Inductor's cache on disk knows neither."""
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    files = [Path(str(module.__file__)) for module in modules]
    texts = b"".join(path.read_bytes() for path in [*files, *sorted(files[0].parent.glob("*.h"))])
    halves = torch.cpu._is_avx512_bf16_supported(), torch.cpu._is_amx_tile_supported()
    return f"pyrovae {hashlib.sha256(texts).hexdigest()} {pick_vec_isa()} {halves}"


def _settings(*, cpp_wrapper: bool = False) -> Any:
    from torch._inductor import config

    settings = {
        "fallback_random": True,  # the draws of the program itself
        "cpp_wrapper": cpp_wrapper,  # one file of C++ to compile, and less Python around it
        "size_asserts": False,  # shapes are looked at before the call
        "alignment_asserts": False,
        "cpp.enable_floating_point_contract_flag": "fast",  # a product and a sum in one instruction
        "cpp.vec_isa_ok": True,  # compiling shows it; a separate test takes seconds in every process
    }
    return config.patch({name: value for name, value in settings.items() if _has(config, name)})


def _has(config: Any, name: str) -> bool:
    return name in config._config
