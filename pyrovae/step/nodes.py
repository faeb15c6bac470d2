"""Nodes of a graph of basic operations that is rearranged before it is compiled."""

from __future__ import annotations

from collections.abc import Container
from math import prod
from typing import Any

import torch
from torch import fx
from torch._guards import detect_fake_mode

aten = torch.ops.aten
Node = Any  # an ``fx.Node``, whose arguments are typed as all that they could be
LARGE = 2**16  # elements; smaller tensors stay in the cache
MANY = 512  # rows


def put(target: Any, *args: Any) -> Node:
    """A new node where its graph inserts now, with what its shape will be."""
    values = fx.node.map_arg(args, tensor_of)
    first = args[0] if isinstance(args[0], fx.Node) else args[0][0]
    node = first.graph.call_function(target, args)
    mode: Any = detect_fake_mode(values)
    with mode:
        node.meta["val"] = target(*values)
    return node


def tensor_of(node: Node) -> Any:
    """What stands for its numbers: a tensor with a shape, a type and nothing in it."""
    return node.meta["val"]


def needed_by(*nodes: Node, ends: Container[Any] = ()) -> set[Node]:
    """All that nodes are computed from, and themselves; of operations among ``ends`` nothing more."""
    needed: set[Node] = set()
    waiting = list(nodes)
    while waiting:
        found = waiting.pop()
        if found not in needed:
            needed.add(found)
            if found.target not in ends:
                waiting += found.all_input_nodes
    return needed


def turn(matrix: Any) -> Node:
    """Rows as columns."""
    return put(aten.permute.default, matrix, [1, 0])


def turns(node: Node) -> bool:
    """Whether rows become columns."""
    return node.target is aten.permute.default and list(node.args[1]) == [1, 0]


def like(total: Node, node: Node) -> Node:
    """The same numbers in the shape of a node."""
    return put(aten.reshape.default, total, list(tensor_of(node).shape))


def is_product(node: Node) -> bool:
    """Whether it is one of two matrices."""
    return node.target is aten.mm.default


def is_sum(node: Node) -> bool:
    """Whether it is one over all rows."""
    if node.target is not aten.sum.dim_IntList or node.kwargs:
        return False
    rows, dimensions = node.args[:2]
    count = tensor_of(rows).dim()
    return sorted(d % count for d in dimensions or ()) == list(range(count - 1))


def has_many(rows: Any) -> bool:
    """Whether a tensor has so many rows, and is so large, that going through it takes time."""
    shape = tensor_of(rows).shape
    return prod(shape) >= LARGE and prod(shape[:-1]) >= MANY
