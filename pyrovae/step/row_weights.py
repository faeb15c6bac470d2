"""Graphs of many rows, rearranged so that a step goes through its largest tensors fewer times.

An objective of many particles weighs the rows of a gradient, and knows the weight of a row once it has those
of all particles. Matrix products let weights pass,

    (diag(w) G) V = diag(w) (G V),    A (diag(w) G) = (A diag(w)) G,

where G V and A are smaller than G. What is left of the large tensor does not wait for the weights: it is
computed together with the log-likelihood, from the same exponentials. Sums over the rows of G, as in the
gradient of a bias, are a row more of A.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import fx
from torch._guards import detect_fake_mode
from torch._inductor import inductor_prims

from pyrovae.step.noise import is_draw

aten, prims = torch.ops.aten, torch.ops.prims
Node = Any  # an ``fx.Node``, whose arguments are typed as all that they could be
LARGE = 2**16  # elements; smaller tensors stay in the cache
MANY = 512  # rows
CONVERT = prims.convert_element_type.default
NARROWED = torch.float32, torch.bfloat16  # as products of half the precision are


def rearrange(graph: fx.Graph) -> None:
    """Let weights of rows pass products, and take other sums over many rows in two steps."""
    for node in list(graph.nodes):
        if node.target is aten.mul.Tensor and _has_many(node):
            _let_weights_pass(node)
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        if _is_sum(node) and _has_many(node.args[0]):
            _in_two_steps(node)
    graph.eliminate_dead_code()


def _let_weights_pass(weighted: Node) -> None:
    chain = _chain(weighted)
    users = [user for node in chain for user in node.users if user not in chain]
    sums = [n for n in users if _is_sum(n) and _value(n).dtype == _value(weighted).dtype]
    turned = [user for user in chain[-1].users if _turns(user)]
    products = [user for user in chain[-1].users if _is_product(user)]
    known = {*sums, *turned, *products} == set(users)
    products += [user for node in turned for user in node.users]
    gains = products and all(_gains(node, [chain[-1], *turned]) for node in products)
    parts = _parts(weighted) if known and gains else None
    if parts is None:
        return
    rows, weight = _written(chain, parts[0]), parts[1]
    for node in products:
        left, right = node.args
        if left is chain[-1]:
            with weighted.graph.inserting_before(node):
                node.replace_all_uses_with(_times(_put(aten.mm.default, rows, right), weight))
            continue
        other = left if right is chain[-1] else right
        first = min([node, *sums])
        joined = sums if _value(rows).dtype == _value(weight).dtype and other < first else []
        with weighted.graph.inserting_before(first if joined else node):
            if right is chain[-1]:
                node.replace_all_uses_with(_of_columns(left, rows, weight, joined))
            elif joined:
                node.replace_all_uses_with(_turn(_of_columns(_turn(right), rows, weight, joined)))
            else:
                product = _put(aten.mm.default, _turn(rows), _times(right, weight))
                node.replace_all_uses_with(product)
        sums = sums if not joined else []
    for node in sums:
        with weighted.graph.inserting_before(node):
            wide = _put(CONVERT, rows, _value(weight).dtype)
            total = _put(aten.sum.dim_IntList, _times(wide, weight), [0])
            node.replace_all_uses_with(_like(total, node))


def _chain(weighted: Node) -> list[Node]:
    """The same rows as a matrix and in another precision, to what products take."""
    chain = [weighted]
    while True:
        value = _value(chain[-1])
        found = [
            user
            for user in chain[-1].users
            if (user.target is aten.view.default and _value(user).shape[1:] == value.shape[-1:])
            or (user.target is CONVERT and (value.dtype, _value(user).dtype) == NARROWED)
        ]
        if len(found) != 1:
            return chain
        chain += found


def _gains(node: Node, taken: list[Node]) -> bool:
    """Whether it is a product of rows with what is no larger than they are."""
    if not _is_product(node) or (node.args[0] in taken) == (node.args[1] in taken):
        return False
    rows: Any = next(side for side in node.args if side in taken)
    turned = rows.target is aten.permute.default
    if rows is node.args[1]:
        return not turned and _value(node).shape[0] <= _value(rows).shape[1]
    return bool(_value(node).shape[1] <= _value(rows).shape[0 if turned else 1])


def _parts(weighted: Node) -> tuple[Node, Node] | None:
    """The rows without their weights, and these as one column; None if it is no product of such."""
    value = _value(weighted)
    sides = [side for side in weighted.args if isinstance(side, fx.Node)]
    if [_value(side).dtype for side in sides] != [value.dtype] * 2:
        return None  # a number, a mask, counts, or something in another precision
    for rows, weights in (sides, sides[::-1]):
        with weighted.graph.inserting_before(weighted):
            column = _column(weights)
            written = _value(rows).shape == value.shape and 0 not in _value(rows).stride()
            if column is not None and written:
                column = _put(aten.expand.default, column, [*value.shape[:-1], 1])
                return rows, _put(aten.reshape.default, column, [-1, 1])
    return None


def _column(weights: Node) -> Node:
    """What is the same for all columns, as one; None if it is not."""
    shape, target = _value(weights).shape, weights.target
    if shape[-1:] in ((), (1,)):
        return weights
    if target not in (aten.expand.default, aten.neg.default, aten.view.default, aten.alias.default):
        return None
    source = weights.args[0]
    if target is aten.view.default and _value(source).shape != shape:
        return None
    column = _column(source)
    return column and (_put(target, column) if target is aten.neg.default else column)


def _written(chain: list[Node], rows: Node) -> Node:
    """The chain of other rows, computed and written right after the last product that they need."""
    written = max(i for i, step in enumerate(chain) if step.target is not aten.view.default)
    for i, step in enumerate(chain):
        with step.graph.inserting_before(chain[0]):
            if step.target is aten.view.default:
                rows = _put(aten.reshape.default, rows, list(_value(step).shape))
            elif i > 0:
                rows = _put(step.target, rows, *step.args[1:])
        rows = _at_once(rows) if i == written else rows
    return rows


def _at_once(node: Node) -> Node:
    needed, waiting = set(), [node]
    while waiting:
        found = waiting.pop()
        if found not in needed:
            needed.add(found)
            waiting += found.all_input_nodes
    # Random draws keep their order.
    fixed = [n for n in needed if n.op == "placeholder" or _is_product(n) or is_draw(n)]
    place = max(fixed, default=node)
    for later in sorted(n for n in needed if n > place):
        place.append(later)
        place = later
    with node.graph.inserting_after(place):
        strides = list(_value(node).stride())
        return _put(inductor_prims.force_stride_order, node, strides)


def _of_columns(left: Node, rows: Node, weight: Node, sums: list[Node]) -> Node:
    """Of the left side, whose columns are weighted, with rows; and their sums at once."""
    across = _turn(weight)
    left = _times(left, across)
    if not sums:
        return _put(aten.mm.default, left, rows)
    both = _put(aten.mm.default, _put(aten.cat.default, [left, across]), rows)
    last = _value(both).shape[0] - 1
    total = _put(aten.slice.Tensor, both, 0, last, last + 1)
    for node in sums:
        node.replace_all_uses_with(_like(total, node))
    return _put(aten.slice.Tensor, both, 0, 0, last)


def _in_two_steps(total: Node) -> None:
    """Sum rows that lie near one another first."""
    rows: Any = total.args[0]
    count, columns = prod(_value(rows).shape[:-1]), _value(rows).shape[-1]
    size = next((n for n in range(64, 15, -1) if count % n == 0), None)
    if size is None or not _value(rows).is_contiguous():
        return
    with total.graph.inserting_before(total):
        blocks = _put(aten.view.default, rows, [count // size, size, columns])
        sums = _put(aten.sum.dim_IntList, blocks, [1])
        total.replace_all_uses_with(_like(_put(aten.sum.dim_IntList, sums, [0]), total))


def _times(x: Any, weight: Node) -> Node:
    """In the precision of the weight, and back."""
    dtype, wide = _value(x).dtype, _value(weight).dtype
    if dtype == wide:
        return _put(aten.mul.Tensor, x, weight)
    product = _put(aten.mul.Tensor, _put(CONVERT, x, wide), weight)
    return _put(CONVERT, product, dtype)


def _turn(matrix: Any) -> Node:
    return _put(aten.permute.default, matrix, [1, 0])


def _turns(node: Node) -> bool:
    return node.target is aten.permute.default and list(node.args[1]) == [1, 0]


def _like(total: Node, node: Node) -> Node:
    return _put(aten.reshape.default, total, list(_value(node).shape))


def _has_many(rows: Any) -> bool:
    shape = _value(rows).shape
    return prod(shape) >= LARGE and prod(shape[:-1]) >= MANY


def _is_product(node: Node) -> bool:
    return node.target is aten.mm.default


def _is_sum(node: Node) -> bool:
    """Whether it is one over all rows."""
    if node.target is not aten.sum.dim_IntList or node.kwargs:
        return False
    rows, dimensions = node.args[:2]
    count = _value(rows).dim()
    return sorted(d % count for d in dimensions or ()) == list(range(count - 1))


def _put(target: Any, *args: Any) -> Node:
    """A new node where its graph inserts now, with what its shape will be."""
    values = fx.node.map_arg(args, _value)
    first = args[0] if isinstance(args[0], fx.Node) else args[0][0]
    node = first.graph.call_function(target, args)
    mode: Any = detect_fake_mode(values)
    with mode:
        node.meta["val"] = target(*values)
    return node


def _value(node: Node) -> Any:
    return node.meta["val"]
