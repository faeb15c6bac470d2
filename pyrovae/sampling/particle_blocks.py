"""Draws in blocks of a fixed size, each with a seed of its own, so that chunks do not change them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor

from pyrovae.densities.missing import any_missing, known_missing
from pyrovae.log_weights import run_particles
from pyrovae.programs import Program, own_parameters
from pyrovae.registry.plain import whole_numbers
from pyrovae.sources.seeds import generator_from
from pyrovae.waist.joint import RowsGiven, density, draws
from pyrovae.waist.sites import find_layout

BLOCK = 50  # particles drawn at once, whatever the chunk; changing it changes every draw
ROWS_AT_ONCE = (
    4096  # particles x datapoints scored at once by default, few enough to stay in the cache
)


def blocks(num_particles: int, seed: int, size: int = BLOCK) -> Iterator[int]:
    """Seed the random state for each block in turn, and yield how many particles it has.

    Call it under ``torch.random.fork_rng()``: it sets the global random state.
    """
    whole_numbers(num_particles=num_particles)
    for number, start in enumerate(range(0, num_particles, size)):
        torch.manual_seed(generator_from(seed, number).initial_seed())
        yield min(size, num_particles - start)


def score(
    model: Program,
    guide: Program,
    x: Tensor,
    kwargs: dict[str, Any],
    add: Callable[[Tensor], None],
    *,
    num_particles: int,
    chunk_size: int | None = None,
    seed: int,
    averaged: bool = False,
) -> None:
    """Draw particles from the guide and hand their log-weights (k, B) on, block by block.

    Args:
        model: p(x, z).
        guide: q(z | x).
        x: (B, D).
        kwargs: keyword arguments of both programs.
        add: what takes the log-weights.
        num_particles: K, in all.
        chunk_size: how many are scored at once; None chooses by the size of the batch.
        seed: the draws are a function of it, and of nothing else here.
        averaged: average the log-weights over what the guide enumerates, as the ELBO does, where otherwise
            the weights are summed.
    """
    layout = find_layout(model, guide, (x,), kwargs)
    chunk = min(chunk_size or max(1, ROWS_AT_ONCE // max(1, len(x))), BLOCK)
    bare = without_statements(model)
    with (
        torch.no_grad(),
        torch.random.fork_rng(),
        own_parameters(),
        known_missing(any_missing(x)),
    ):
        # The quick way below runs the two apart; together they are refused where they do not fit.
        run_particles(model, guide, (x,), kwargs, num_particles=1, layout=layout)
        for number, count in enumerate(blocks(num_particles, seed)):
            with as_checked(number):
                if layout.enumerated:
                    with RowsGiven():
                        run = run_particles(
                            model, guide, (x,), kwargs, num_particles=count, layout=layout
                        )
                    add(run.averaged if averaged else run.log_weights)
                    continue
                drawn = draws(guide, (x,), kwargs, num_particles=count, layout=layout)
                scored = []
                for start in range(0, count, chunk):
                    some = {name: v[start : start + chunk] for name, v in drawn.values.items()}
                    scored.append(density(bare, some, (x,), kwargs, layout=layout).joint)
                add(torch.cat(scored) - drawn.density.latent)


def without_statements(program: Program) -> Program:
    """The program without the parameter statements that only training reads; they cost time in every run.

    Modules that draw their own parameters (``PyroSample``) need theirs.
    """
    if not isinstance(program, PyroModule) or program._forward_hooks or program._forward_pre_hooks:
        return program
    parts = [part for part in program.modules() if isinstance(part, PyroModule)]
    return program if any(part._pyro_samples for part in parts) else program.forward


@contextmanager
def as_checked(block: int) -> Iterator[None]:
    """Check arguments of distributions in the first block only: the others are made the same way."""
    if block == 0:
        yield
    else:
        with pyro.validation_enabled(False):
            yield
