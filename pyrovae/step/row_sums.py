"""Sums over many rows, in two steps: rows that lie near one another first.

In one step, some columns are summed over all rows before the next ones: rows pass the cache each time.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from pyrovae.step.nodes import Node, like, put, tensor_of

aten = torch.ops.aten


def in_two_steps(total: Node) -> None:
    """Sum rows that lie near one another first."""
    rows: Any = total.args[0]
    *leading, columns = tensor_of(rows).shape
    count = prod(leading)
    size = next((n for n in range(64, 15, -1) if count % n == 0), None)
    rounds = tensor_of(rows).dtype not in (torch.float32, torch.float64)
    if size is None or rounds or not tensor_of(rows).is_contiguous():
        return
    with total.graph.inserting_before(total):
        blocks = put(aten.view.default, rows, [count // size, size, columns])
        sums = put(aten.sum.dim_IntList, blocks, [1])
        total.replace_all_uses_with(like(put(aten.sum.dim_IntList, sums, [0]), total))
