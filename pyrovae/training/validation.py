"""The bound of rows that are not trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrovae.distributed.group import Group
from pyrovae.sources.seeds import generator_from
from pyrovae.svi import SVI
from pyrovae.training.feed import modules


def validation_bound(svi: SVI, x: Tensor, batch_size: int, seed: int, group: Group) -> float:
    """The objective's bound per row, with the same random numbers at every call; nothing is trained.

    Args:
        svi: whose objective, model and guide.
        x: (M, D), rows.
        batch_size: rows at once, if more than 256.
        seed: of the draws; the random state is left as it was found.
        group: of processes, each of which scores its part of the rows.

    Returns:
        Nats per row, larger is better.

    Raises:
        RuntimeError, ValueError: a program could not score rows; all processes raise if one of them does.
    """
    programs = modules(model=svi.model, guide=svi.guide).values()
    for program in programs:
        program.eval()
    total, rows = 0.0, len(x)
    if group.many:
        x = x[slice(*group.block(rows))]
        seed = generator_from(seed, group.rank, group.ranks).initial_seed()
    theirs = ValueError("another process could not score its validation rows")
    try:
        with (
            group.together(theirs, RuntimeError, ValueError),
            torch.random.fork_rng([x.device] if x.device.type == "cuda" else []),
        ):
            torch.manual_seed(seed)
            for some in x.split(max(batch_size, 256)) if len(x) else ():
                total += svi.evaluate_loss(some)
    finally:
        for program in programs:
            program.train()
    return -group.total(total) / rows
