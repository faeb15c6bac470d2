"""Taking random draws out of a graph, so that what is left is arithmetic alone.

A compiler may draw other random numbers, or the same in another order. Draws that depend on no input
(standard normals, uniforms, dropout masks, the rows of a subsample) are therefore made beforehand, by
the same operations in the same order as the program made them, and handed to the graph as inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from pyrovae.step.nodes import needed_by
from pyrovae.step.playback import playback

aten = torch.ops.aten
# Of these only the shape of the input matters: what to make in their place, given shape and fill value.
_BY_SHAPE: dict[Any, tuple[Any, tuple[Any, ...]]] = {
    aten.empty_like.default: (aten.empty.memory_format, ()),
    aten.new_empty.default: (aten.empty.memory_format, ()),
    aten.new_empty_strided.default: (aten.empty.memory_format, ()),
    aten.rand_like.default: (aten.rand.default, ()),
    aten.randn_like.default: (aten.randn.default, ()),
    aten.zeros_like.default: (aten.full.default, (0,)),
    aten.new_zeros.default: (aten.full.default, (0,)),
    aten.ones_like.default: (aten.full.default, (1,)),
    aten.new_ones.default: (aten.full.default, (1,)),
}


def take_out_noise(module: fx.GraphModule) -> Callable[[], list[Tensor]] | None:
    """Split the random draws off a graph without in-place operations, and make them its inputs.

    Draws that depend on an input stay in the graph, and so do all draws after them, to keep their order.

    Args:
        module: the graph; it is changed.

    Returns:
        A function that makes the draws, in the order of the new inputs; None if there are none.
    """
    graph = module.graph
    free = _independent(graph)
    draws: list[fx.Node] = []
    for node in graph.nodes:
        if is_draw(node):
            if node not in free:
                break
            draws.append(node)
    if not draws:
        return None
    prelude = _prelude(draws, free)
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    for i, node in enumerate(draws):
        with graph.inserting_after(last):
            last = graph.placeholder(f"noise_{i}")
        last.meta = dict(node.meta)
        node.replace_all_uses_with(last)
        graph.erase_node(node)
    graph.eliminate_dead_code()
    module.recompile()
    return prelude


def is_draw(node: fx.Node) -> bool:
    """Whether a node draws random numbers."""
    target = node.target
    return (
        isinstance(target, torch._ops.OpOverload)
        and torch.Tag.nondeterministic_seeded in target.tags
    )


def _independent(graph: fx.Graph) -> set[fx.Node]:
    """The nodes whose numbers do not depend on an input of the graph."""
    free: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        if node.target in _BY_SHAPE or all(parent in free for parent in node.all_input_nodes):
            free.add(node)
    return free


def _prelude(draws: list[fx.Node], free: set[fx.Node]) -> Callable[[], list[Tensor]]:
    """A graph of its own that makes the draws."""
    needed = needed_by(*draws, ends=_BY_SHAPE)
    graph = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in draws[0].graph.nodes:
        if node in needed:
            made[node] = _by_shape(graph, node) or graph.node_copy(node, made.__getitem__)
    for node in list(graph.nodes):
        _shorten(node)
    graph.output([made[node] for node in draws])
    return playback(graph)


def _shorten(node: fx.Node) -> None:
    """Put the same operation in a form that is called faster, and draw into the empty tensor itself."""
    if node.target is aten.normal_functional.default and len(node.all_input_nodes[0].users) == 1:
        node.target = Tensor.normal_
    elif node.target is aten.empty.memory_format:
        node.kwargs = {k: v for k, v in node.kwargs.items() if k in ("dtype", "device")}
        node.target = torch.empty


def _by_shape(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    if node.target not in _BY_SHAPE:
        return None
    target, fill = _BY_SHAPE[node.target]
    value = node.meta["val"]
    options = {"dtype": value.dtype, "device": value.device}
    return graph.call_function(target, (list(value.shape), *fill), options)
