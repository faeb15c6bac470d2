"""Graphs of many rows, rearranged so that a step goes through its largest tensors fewer times.

An objective of many particles weighs the rows of a gradient, and knows the weight of a row once it has those
of all particles. Matrix products let weights pass,

    (diag(w) G) V = diag(w) (G V),    A (diag(w) G) = (A diag(w)) G,

where G V and A are smaller than G. What is left of the large tensor does not wait for the weights: it is
computed together with the log-likelihood, from the same exponentials. Sums over the rows of G, as in the
gradient of a bias, are a row more of A.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import fx
from torch._inductor import inductor_prims

from pyrovae.step.nodes import (
    Node,
    has_many,
    is_product,
    is_sum,
    like,
    needed_by,
    put,
    tensor_of,
    turn,
    turns,
)
from pyrovae.step.noise import is_draw
from pyrovae.step.row_sums import in_two_steps

aten, prims = torch.ops.aten, torch.ops.prims
CONVERT = prims.convert_element_type.default
NARROWED = torch.float32, torch.bfloat16  # as products of half the precision are


def rearrange(graph: fx.Graph) -> None:
    """Let weights of rows pass products, and take other sums over many rows in two steps."""
    for node in list(graph.nodes):
        if node.target is aten.mul.Tensor and has_many(node):
            _let_weights_pass(node)
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        if is_sum(node) and has_many(node.args[0]):
            in_two_steps(node)
    graph.eliminate_dead_code()


class Uses(NamedTuple):
    """Of weighted rows: the same in the forms that are taken, products with the last, and sums."""

    chain: list[Node]
    products: list[Node]
    sums: list[Node]


def _let_weights_pass(weighted: Node) -> None:
    uses = _uses(weighted)
    parts = _parts(weighted) if uses else None
    if uses is None or parts is None:
        return
    rows, weight = _written(uses.chain, parts[0]), parts[1]
    sums = uses.sums
    for node in uses.products:
        if node.args[0] is uses.chain[-1]:
            with node.graph.inserting_before(node):
                product = put(aten.mm.default, rows, node.args[1])
                node.replace_all_uses_with(_times(product, weight))
        else:
            sums = _product_over_rows(node, uses.chain[-1], rows, weight, sums)
    for node in sums:
        with node.graph.inserting_before(node):
            wide = put(CONVERT, rows, tensor_of(weight).dtype)
            total = put(aten.sum.dim_IntList, _times(wide, weight), [0])
            node.replace_all_uses_with(like(total, node))


def _uses(weighted: Node) -> Uses | None:
    """None if there are others, or products that gain nothing."""
    chain = _chain(weighted)
    users = [user for node in chain for user in node.users if user not in chain]
    sums = [n for n in users if is_sum(n) and tensor_of(n).dtype == tensor_of(weighted).dtype]
    turned = [user for user in chain[-1].users if turns(user)]
    products = [user for user in chain[-1].users if is_product(user)]
    known = {*sums, *turned, *products} == set(users)
    products += [user for node in turned for user in node.users]
    gains = products and all(_gains(node, [chain[-1], *turned]) for node in products)
    return Uses(chain, products, sums) if known and gains else None


def _product_over_rows(
    node: Node, taken: Node, rows: Node, weight: Node, sums: list[Node]
) -> list[Node]:
    """Replace a product that sums over rows, with the sums where that can be; those that are left."""
    left, right = node.args
    other = left if right is taken else right
    same = tensor_of(rows).dtype == tensor_of(weight).dtype
    joined = sums if same and all(other < total for total in sums) else []
    with node.graph.inserting_before(min([node, *joined])):
        if right is taken:
            product = _over_rows(turn(left), rows, weight, joined)
        elif joined:
            product = turn(_over_rows(right, rows, weight, joined))
        else:
            product = put(aten.mm.default, turn(rows), _times(right, weight))
        node.replace_all_uses_with(product)
    return [] if joined else sums


def _chain(weighted: Node) -> list[Node]:
    """The same rows as a matrix and in another precision, to what products take."""
    chain = [weighted]
    while True:
        value = tensor_of(chain[-1])
        found = [
            user
            for user in chain[-1].users
            if (user.target is aten.view.default and tensor_of(user).shape[1:] == value.shape[-1:])
            or (user.target is CONVERT and (value.dtype, tensor_of(user).dtype) == NARROWED)
        ]
        if len(found) != 1:
            return chain
        chain += found


def _gains(node: Node, taken: list[Node]) -> bool:
    """Whether it is a product of rows with what is no larger than they are."""
    if not is_product(node) or (node.args[0] in taken) == (node.args[1] in taken):
        return False
    rows: Any = next(side for side in node.args if side in taken)
    turned = rows.target is aten.permute.default
    if rows is node.args[1]:
        return not turned and tensor_of(node).shape[0] <= tensor_of(rows).shape[1]
    return bool(tensor_of(node).shape[1] <= tensor_of(rows).shape[0 if turned else 1])


def _parts(weighted: Node) -> tuple[Node, Node] | None:
    """The rows without their weights, and these as one column; None if it is no product of such.

    Or if the weights are known beforehand.
    """
    value = tensor_of(weighted)
    sides = [side for side in weighted.args if isinstance(side, fx.Node)]
    if [tensor_of(side).dtype for side in sides] != [value.dtype] * 2:
        return None  # a number, a mask, counts, or something in another precision
    for rows, weights in (sides, sides[::-1]):
        with weighted.graph.inserting_before(weighted):
            column = _column(weights)
            written = tensor_of(rows).shape == value.shape and 0 not in tensor_of(rows).stride()
            if column is not None and written and any(map(is_product, needed_by(column))):
                column = put(aten.expand.default, column, [*value.shape[:-1], 1])
                return rows, put(aten.reshape.default, column, [-1, 1])
    return None


def _column(weights: Node) -> Node:
    """What is the same for all columns, as one; None if it is not."""
    shape, target = tensor_of(weights).shape, weights.target
    if shape[-1:] in ((), (1,)):
        return weights
    if target not in (aten.expand.default, aten.neg.default, aten.view.default, aten.alias.default):
        return None
    source = weights.args[0]
    if target is aten.view.default and tensor_of(source).shape != shape:
        return None
    column = _column(source)
    return column and (put(target, column) if target is aten.neg.default else column)


def _written(chain: list[Node], rows: Node) -> Node:
    """The chain of other rows, computed and written right after the last product that they need."""
    written = max(i for i, step in enumerate(chain) if step.target is not aten.view.default)
    for i, step in enumerate(chain):
        with step.graph.inserting_before(chain[0]):
            if step.target is aten.view.default:
                rows = put(aten.reshape.default, rows, list(tensor_of(step).shape))
            elif i > 0:
                rows = put(step.target, rows, *step.args[1:])
        rows = _at_once(rows) if i == written else rows
    return rows


def _at_once(node: Node) -> Node:
    needed = needed_by(node)
    # Random draws keep their order.
    fixed = [n for n in needed if n.op == "placeholder" or is_product(n) or is_draw(n)]
    place = max(fixed, default=node)
    for later in sorted(n for n in needed if n > place):
        place.append(later)
        place = later
    with node.graph.inserting_after(place):
        strides = list(tensor_of(node).stride())
        return put(inductor_prims.force_stride_order, node, strides)


def _over_rows(other: Node, rows: Node, weight: Node, sums: list[Node]) -> Node:
    """Of the other side, turned, whose rows are weighted, with rows; and their sums at once."""
    tall = _times(other, weight)
    if not sums:
        return put(aten.mm.default, turn(tall), rows)
    both = put(aten.mm.default, turn(put(aten.cat.default, [tall, weight], 1)), rows)
    last = tensor_of(both).shape[0] - 1
    total = put(aten.slice.Tensor, both, 0, last, last + 1)
    for node in sums:
        node.replace_all_uses_with(like(total, node))
    return put(aten.slice.Tensor, both, 0, 0, last)


def _times(x: Any, weight: Node) -> Node:
    """In the precision of the weight, and back."""
    dtype, wide = tensor_of(x).dtype, tensor_of(weight).dtype
    if dtype == wide:
        return put(aten.mul.Tensor, x, weight)
    product = put(aten.mul.Tensor, put(CONVERT, x, wide), weight)
    return put(CONVERT, product, dtype)
