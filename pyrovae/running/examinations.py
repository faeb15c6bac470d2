"""The single examinations that make a diagnosis: each adds its numbers, or refuses in a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from pyrovae.diagnostics import (
    active_units,
    calibration,
    cluster_agreement,
    cluster_of,
    gaps,
    information,
    linear_probe,
    predictive_check,
)
from pyrovae.evidence import (
    AnnealedImportanceSampling,
    BidirectionalMonteCarlo,
    Exact,
    ImportanceSampling,
)
from pyrovae.programs import ExactModel, Program, RowGuide
from pyrovae.running.evaluation import of_mean
from pyrovae.sampling.elbo import elbo_of
from pyrovae.sampling.posterior import posterior_draws
from pyrovae.sampling.psis import effective_sample_size, k_hat, threshold

Numbers = dict[str, float]
Labelled = tuple[Tensor, Tensor]  # rows (N, D) and their classes (N,)


@dataclass
class Diagnosis:
    """What was found.

    Attributes:
        numbers: by name, as `pyrovae.running.verdicts.verdicts` reads them; nats per datapoint where nats.
        skipped: by diagnostic, the sentence that says why it does not apply.
        rows: by name, (B,) numbers of each datapoint: ``k_hat``, ``log_evidence`` and its standard error
            ``log_evidence_se``, ``elbo``.
        seconds: by diagnostic, wall clock.
    """

    numbers: Numbers = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    rows: dict[str, Tensor] = field(default_factory=dict)
    seconds: Numbers = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """How much is spent on what.

    Attributes:
        particles: draws of the guide for each datapoint.
        chain_rows: datapoints that annealing is run on.
        chains: for each of them.
        temperatures: on each chain's way.
        gap_rows: datapoints whose gap is divided.
        gap_steps: gradient steps in a round of that.
        information_rows: datapoints among which information is counted.
        simulations: simulated datapoints for calibration.
        refit_steps: gradient steps where a guide with a table of rows is refitted.
    """

    particles: int = 1000
    chain_rows: int = 32
    chains: int = 16
    temperatures: int = 200
    gap_rows: int = 100
    gap_steps: int = 300
    information_rows: int = 1000
    simulations: int = 1000
    refit_steps: int = 1000


QUICK = Budget(
    particles=200,
    chain_rows=4,
    chains=4,
    temperatures=20,
    gap_rows=10,
    gap_steps=50,
    information_rows=100,
    simulations=100,
    refit_steps=100,
)


@dataclass
class Case:
    """One model, guide and data, and what is to be spent on them."""

    model: Program
    guide: Program  # of the rows x
    general: Program  # of any rows: what was fitted, a table of rows included
    x: Tensor
    labels: Tensor | None
    train: Labelled | None
    budget: Budget
    seed: int
    found: Diagnosis


def _evidence(case: Case) -> None:
    estimator = ImportanceSampling(num_particles=case.budget.particles, keep=True)
    estimate = estimator(case.model, case.guide, case.x, seed=case.seed)
    weights = cast(Tensor, estimate.log_weights)
    shapes = k_hat(weights)
    elbo, _ = elbo_of(weights, case.model, case.guide, case.x, seed=case.seed)
    limit = threshold(case.budget.particles)
    values, errors = estimate.value, estimate.standard_error
    case.found.rows |= {"k_hat": shapes, "log_evidence": values, "elbo": elbo}
    case.found.rows["log_evidence_se"] = errors
    case.found.numbers |= {
        "rows": len(case.x),
        "particles": case.budget.particles,
        "elbo": float(elbo.mean()),
        "log_evidence": float(values.mean()),
        "log_evidence_se": of_mean(errors),
        "k_hat_bad_share": float((shapes > limit).double().mean()),
        "k_hat_threshold": limit,
        "k_hat_median": float(shapes.median()),
        "ess_median": float(effective_sample_size(weights).median()),
    }
    if isinstance(case.model, ExactModel):
        exact = Exact()(case.model, None, case.x).value
        case.found.numbers["exact_log_evidence"] = float(exact.mean())


def _annealing(case: Case) -> None:
    some, budget = case.x[: case.budget.chain_rows], case.budget
    settings: dict[str, Any] = {
        "chains": budget.chains,
        "temperatures": budget.temperatures,
        "pilot_temperatures": min(100, budget.temperatures),
    }
    found = AnnealedImportanceSampling(**settings)(case.model, None, some, seed=case.seed)
    rows = {name: value[: len(some)].to(found.value) for name, value in case.found.rows.items()}
    difference = found.value - rows["log_evidence"]
    errors = torch.hypot(found.standard_error, rows["log_evidence_se"])
    case.found.numbers |= {
        "annealed_rows": len(some),
        "annealed_log_evidence": float(found.value.mean()),
        "annealed_log_evidence_se": of_mean(found.standard_error),
        "annealed_less_importance": float(difference.mean()),
        "annealed_less_importance_se": of_mean(errors),
    }
    sandwich = BidirectionalMonteCarlo(**settings)(case.model, None, some, seed=case.seed)
    if sandwich.upper is not None:
        gap = sandwich.upper - sandwich.value
        case.found.numbers |= {
            "sandwich_gap": float(gap.mean()),
            "sandwich_gap_se": float(gap.std() / len(gap) ** 0.5) if len(gap) > 1 else 0.0,
        }


def _gaps(case: Case) -> None:
    some = case.x[: case.budget.gap_rows]
    if isinstance(case.general, RowGuide):
        raise ValueError(
            "a guide with a table of rows has no amortization gap: it was fitted to them"
        )
    found = gaps(case.model, case.general, some, steps=case.budget.gap_steps, seed=case.seed)
    means = found.means()
    case.found.numbers |= {"gap_rows": len(some), "gaps_converged": float(found.converged)}
    for name, (mean, error) in means.items():
        case.found.numbers |= {f"{name}_gap": mean, f"{name}_gap_se": error}


def _information(case: Case) -> None:
    some = case.x[: case.budget.information_rows]
    # A guide with a table must be told which of its rows these are.
    of_table = {
        "index": torch.arange(len(some), device=some.device),
        "size": len(case.x),
    }
    rows: dict[str, Any] = of_table if isinstance(case.guide, RowGuide) else {}
    found = information(case.model, case.guide, some, seed=case.seed, **rows)
    case.found.numbers |= found.means() | {"information_rows": len(some)}


def _units(case: Case) -> None:
    values = posterior_draws(case.guide, case.x, num_particles=1)
    case.found.numbers["units"] = sum(value[0, 0].numel() for value in values.values())
    case.found.numbers["active_units"] = active_units(case.guide, case.x, seed=case.seed)


def _calibration(case: Case) -> None:
    simulations = case.budget.simulations
    found = calibration(case.model, case.general, case.x, simulations=simulations, seed=case.seed)
    case.found.numbers |= {
        "calibration_p": found.p_value,
        "calibration_width_p": float(found.uniform.min()),
        "calibration_shift_p": float(found.symmetric.min()),
        "calibration_simulations": simulations,
    }


def _predictions(case: Case) -> None:
    found = predictive_check(case.model, case.guide, case.x, seed=case.seed).p_values()
    # One that is not a number (rows of one value, or with missing ones) says nothing.
    case.found.numbers |= {f"predictive_p_{n}": p for n, p in found.items() if not math.isnan(p)}


def _probe(case: Case) -> None:
    if case.labels is None or case.train is None:
        raise ValueError("the data have no classes")
    if isinstance(case.general, RowGuide):
        raise ValueError(
            "a guide with a table of rows says nothing of training rows by their pixels"
        )
    accuracy = linear_probe(case.general, *case.train, case.x, case.labels, seed=case.seed)
    case.found.numbers["probe_accuracy"] = accuracy


def _clusters(case: Case) -> None:
    if case.labels is None:
        raise ValueError("the data have no classes")
    found = cluster_agreement(cluster_of(case.guide, case.x, seed=case.seed), case.labels)
    case.found.numbers |= {f"cluster_{name}": value for name, value in vars(found).items()}


Step = Callable[[Case], None]
CONTINUOUS: dict[str, Step] = {
    "importance sampling and k-hat": _evidence,
    "annealing from both ends": _annealing,
    "gaps": _gaps,
    "information": _information,
    "active units": _units,
    "calibration": _calibration,
    "predictive checks": _predictions,
    "linear probe": _probe,
}
DISCRETE: dict[str, Step] = {
    "importance sampling and k-hat": _evidence,
    "predictive checks": _predictions,
    "clusters": _clusters,
}
