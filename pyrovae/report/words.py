"""Numbers and findings in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pyrovae.report.entries import Comparison, Entry, Number

ROUNDING = 1e-3  # nats; single precision cannot tell evidences apart that are closer
UNIT = "nats per datapoint"


class Check(NamedTuple):
    """One thing the records must satisfy, whether they do, and the sentence that says so."""

    passed: bool
    sentence: str


class Difference(NamedTuple):
    """How much more evidence one entry has than another."""

    nats: Number
    paired_rows: int  # test rows over which the standard error was taken; 0 if not paired


def number(value: Number | None, digits: int = 2) -> str:
    """The number with its standard error: `83.41 ± 0.05`; an en dash where there is none.

    >>> number(Number(83.412, 0.049))
    '83.41 ± 0.05'
    >>> number(Number(-0.0001))
    '0.00'
    """
    if value is None:
        return "–"
    text = _fixed(value.value, digits)
    return f"{text} ± {_fixed(value.error, digits)}" if math.isfinite(value.error) else text


def difference(better: Entry, worse: Entry) -> Difference:
    """The difference of their log evidences with its standard error, in nats per datapoint.

    Where both recorded the evidence of every test row, the rows are compared one by one and the
    standard error is that of the mean difference over test rows; the spread over several seeds is
    added in squares. Otherwise the errors of the two numbers are added in squares, which says
    nothing about other test rows.
    """
    if better.rows is not None and worse.rows is not None and better.rows.size == worse.rows.size:
        gain = better.rows - worse.rows
        if gain.size > 1 and np.isfinite(gain).all():
            error = float(gain.std(ddof=1)) / math.sqrt(gain.size)
            error = math.hypot(error, better.seed_error, worse.seed_error)
            return Difference(Number(float(gain.mean()), error), gain.size)
    one, other = better.evidence, worse.evidence
    if one is None or other is None:
        return Difference(Number(math.nan), 0)
    error = math.hypot(*(e for e in (one.error, other.error) if math.isfinite(e)))
    return Difference(Number(one.value - other.value, error), 0)


def headline(comparison: Comparison) -> list[str]:
    """What the records say, in at most three sentences, the most important first."""
    ranked = [entry for entry in comparison.best() if entry.evidence is not None]
    if not ranked:
        return ["No run has finished with an evidence to compare yet."]
    sentences = [_winner(ranked)]
    if loss := _loss(comparison):
        sentences.append(loss)
    return sentences


def _winner(ranked: Sequence[Entry]) -> str:
    best = ranked[0]
    size = f"{number(best.evidence).partition(' ')[0]} {UNIT} ({best.algorithm})"
    if len(ranked) == 1:
        return f"{best.model} explains unseen data with a log evidence of {size}."
    gaps = [(entry.model, difference(best, entry)) for entry in ranked[1:]]
    rows = gaps[0][1].paired_rows
    seeds = " and the seeds" if any(len(entry.records) > 1 for entry in ranked) else ""
    taken = f"over the {rows} test rows{seeds}" if rows else "of the two estimates"
    close = gaps[0][1].nats
    if not close.value > 2 * close.error:
        return (
            f"{best.model} and {gaps[0][0]} explain unseen data about equally well: {size} for the "
            f"first, {number(close)} more than the second (± one standard error {taken})."
        )
    more = _joined([f"{number(gap.nats, 1)} more than {model}" for model, gap in gaps])
    return (
        f"{best.model} explains unseen data best: {size}, {more}, each at its best "
        f"(± one standard error {taken})."
    )


def _loss(comparison: Comparison) -> str | None:
    gaps = {e: gap.value for e in comparison.entries if (gap := e.mean("inference_gap"))}
    if len(gaps) < 2:
        return None
    most = max(gaps, key=lambda entry: gaps[entry])
    rivals = [entry for entry in gaps if entry.model == most.model and entry is not most]
    sentence = (
        f"Most evidence is lost by {most.algorithm} on {most.model}: its ELBO lies "
        f"{_fixed(gaps[most], 2)} nats below the log evidence"
    )
    if rivals:
        least = min(rivals, key=lambda entry: gaps[entry])
        sentence += f"; least on that model by {least.algorithm}: {_fixed(gaps[least], 2)} nats"
    return sentence + "."


def checks(comparison: Comparison) -> list[Check]:
    """What must hold for the table to be believed; each with the worst case found."""
    found = [_bound_check(comparison), _exact_check(comparison), _tail_check(comparison)]
    lost = [record for record in comparison.unfit if record.get("status") == "failed"]
    if lost:
        found.append(Check(False, f"{_count(len(lost), 'run')} failed; see below the table."))
    if wrong := [name for entry in comparison.entries for name in _not_finite(entry)]:
        found.append(Check(False, f"Not a finite number: {_joined(wrong)}."))
    return [check for check in found if check is not None]


def _bound_check(comparison: Comparison) -> Check | None:
    """ELBO <= log evidence, within 3 standard errors of their difference."""
    over = {}
    for entry in comparison.entries:
        if entry.elbo and entry.evidence:
            errors = [e for e in (entry.elbo.error, entry.evidence.error) if math.isfinite(e)]
            allowed = 3 * math.hypot(*errors) + ROUNDING
            over[entry] = entry.elbo.value - entry.evidence.value - allowed
    if not over:
        return None
    wrong = [entry.label for entry, excess in over.items() if excess > 0]
    if wrong:
        return Check(False, f"The ELBO exceeds the log evidence for {_joined(wrong)}.")
    return Check(True, "Every ELBO is at most the log evidence, within 3 standard errors.")


def _exact_check(comparison: Comparison) -> Check | None:
    """Where the exact evidence is known, the estimate is within 4 standard errors of it."""
    distances = {}
    for entry in comparison.entries:
        for record in entry.records:
            exact, estimate = record.get("exact_log_evidence"), record.get("test_log_evidence")
            if exact is not None and estimate is not None:
                error = max(record.get("test_log_evidence_se") or 0.0, ROUNDING)
                distances[record["name"]] = abs(estimate - exact) / error
    if not distances:
        return None
    worst = max(distances.values())
    if wrong := [name for name, distance in distances.items() if distance >= 4]:
        return Check(
            False,
            f"The estimated evidence is up to {worst:.1f} standard errors from the exact one: "
            f"{_joined(wrong)}.",
        )
    return Check(
        True,
        f"Where the exact evidence is known ({_count(len(distances), 'run')}), the estimate agrees "
        f"with it: at most {worst:.1f} standard errors apart.",
    )


def _tail_check(comparison: Comparison) -> Check | None:
    shares = {e.label: s.value for e in comparison.entries if (s := e.mean("k_hat_bad_share"))}
    if not shares:
        return None
    if wrong := [label for label, share in shares.items() if share > 0.1]:
        return Check(
            False,
            "For more than a tenth of the test rows the importance weights have too heavy a tail "
            f"(k-hat), so the evidence may be too low: {_joined(wrong)}.",
        )
    return Check(True, "The importance weights' tails are light (k-hat) for 90 % of rows or more.")


def _not_finite(entry: Entry) -> list[str]:
    """The results that were NaN or infinite; an option may well be infinite and has a dotted key."""
    keys = [key for record in entry.records for key in record.get("not_finite") or []]
    return [f"{key} of {entry.label}" for key in dict.fromkeys(keys) if "." not in key]


def _fixed(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return "–"
    most = 1e7 if digits else 1e15  # counts are told in full
    text = f"{value:,.{digits}f}" if abs(value) < most else f"{value:.3g}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _joined(parts: Sequence[str], most: int = 4) -> str:
    if len(parts) > most:
        parts = [*parts[:most], f"{len(parts) - most} more"]
    between = "; " if any("," in part for part in parts) else ", "
    return " and ".join([between.join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
