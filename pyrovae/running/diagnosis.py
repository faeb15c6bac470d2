"""Everything the diagnostics say of one fitted model and guide, computed with sensible budgets."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

from pyrovae.programs import Program, RowGuide
from pyrovae.refit import refit
from pyrovae.running.evaluation import rows_of_part
from pyrovae.running.examinations import (
    CONTINUOUS,
    DISCRETE,
    QUICK,
    Budget,
    Case,
    Diagnosis,
    Labelled,
)
from pyrovae.sampling.posterior import posterior_draws
from pyrovae.sources.dataset import DataSet, Part

__all__ = ["QUICK", "Budget", "Diagnosis", "diagnose", "diagnose_data"]


def diagnose(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    labels: Tensor | None = None,
    train: Labelled | None = None,
    budget: Budget | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Diagnosis:
    """Run every diagnostic that applies to a fitted model and guide.

    Args:
        model: p(x, z), fitted.
        guide: q(z | x), fitted; one with a table of rows is refitted to ``x``.
        x: (B, D), rows that were not in training.
        labels: (B,), their classes, if there are any.
        train: training rows and their classes, which a linear probe learns from.
        budget: what to spend; the default takes about a minute on the digits.
        seed: of everything drawn; the global random state is left as it was.
        progress: called before each diagnostic with its name, its number and how many there are.

    Returns:
        A `Diagnosis`, which `pyrovae.running.verdicts.verdicts` puts into words.

    Example:
        >>> import torch
        >>> from pyrovae.models import GaussianMixture
        >>> from pyrovae.guides import ExactPosterior
        >>> model = GaussianMixture(5, components=3)
        >>> diagnose(model, ExactPosterior(model), torch.randn(20, 5)).numbers["k_hat_bad_share"]
        0.0
    """
    budget = budget or Budget()
    own: Program = guide
    if isinstance(guide, RowGuide):
        if progress is not None:
            progress("fitting the guide to these rows", 0, len(CONTINUOUS))
        own = refit(model, guide, x, steps=budget.refit_steps, seed=seed)
    case = Case(model, own, guide, x, labels, train, budget, seed, Diagnosis())
    steps = CONTINUOUS if _is_continuous(own, x) else DISCRETE
    for number, (name, step) in enumerate(steps.items()):
        if progress is not None:
            progress(name, number, len(steps))
        began = time.perf_counter()
        try:
            step(case)
        except (ValueError, TypeError) as refusal:  # each says in a sentence what it cannot do
            case.found.skipped[name] = str(refusal)
        case.found.seconds[name] = time.perf_counter() - began
    return case.found


def diagnose_data(
    model: Program,
    guide: Program,
    data: DataSet,
    part: Part = "test",
    *,
    budget: Budget | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Diagnosis:
    """`diagnose` on the rows of a part of a data set, with its classes if it has any."""
    classes = data.train.labels
    return diagnose(
        model,
        guide,
        rows_of_part(model, data, part),
        labels=getattr(data, part).labels,
        train=None if classes is None else (rows_of_part(model, data, "train"), classes),
        budget=budget,
        seed=seed,
        progress=progress,
    )


def _is_continuous(guide: Program, x: Tensor) -> bool:
    values = posterior_draws(guide, x, num_particles=1).values()
    return bool(values) and all(value.is_floating_point() for value in values)
