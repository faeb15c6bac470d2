"""The sentences say what the numbers say, and the checks reject what is wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pyrovae.records import OutputFolder, Record
from pyrovae.report.entries import Comparison, Number, compare, read
from pyrovae.report.words import checks, difference, headline, number


def comparison(*rows: dict[str, Any]) -> Comparison:
    """A comparison of finished runs."""
    made = [
        {"name": f"run{i}", "status": "finished", "guide": "Amortized", "objective": "IWAE"} | row
        for i, row in enumerate(rows)
    ]
    (only,) = compare(Record(**row) for row in made)  # type: ignore[typeddict-item]
    return only


VAE = {"model": "VAE", "test_log_evidence": 83.0, "test_log_evidence_se": 0.3}
PCA = {"model": "PCA", "test_log_evidence": 61.0, "test_log_evidence_se": 0.4}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (Number(math.nan), "–"),
        (Number(1234.567), "1,234.57"),
        (Number(-0.001), "0.00"),
        (Number(-1.5, 0.0), "-1.50 ± 0.00"),
        (Number(-3.4e12, 1.0), "-3.4e+12 ± 1.00"),
    ],
)
def test_numbers(value: Number | None, text: str) -> None:
    assert number(value) == text


def test_counts_are_told_in_full() -> None:
    assert number(Number(123_456_789.0), 0) == "123,456,789"


def test_the_difference_over_rows_is_paired(folder: OutputFolder) -> None:
    (whole,) = read(folder)
    best, second = whole.best()[:2]
    assert best.rows is not None
    assert second.rows is not None
    found = difference(best, second)
    gain = best.rows - second.rows
    assert found.paired_rows == 397
    assert found.nats.value == pytest.approx(gain.mean())
    assert found.nats.error == pytest.approx(gain.std(ddof=1) / math.sqrt(397))
    apart = math.hypot(*(np.std(rows, ddof=1) for rows in (best.rows, second.rows)))
    assert found.nats.error < 0.7 * apart / math.sqrt(397)


def test_the_spread_of_seeds_is_part_of_the_error(seeds_folder: OutputFolder) -> None:
    (whole,) = read(seeds_folder)
    best, second = whole.best()[:2]
    assert best.rows is not None
    assert second.rows is not None
    over_rows = (best.rows - second.rows).std(ddof=1) / math.sqrt(397)
    over_seeds = [
        np.std([r["test_log_evidence"] for r in entry.records], ddof=1) / math.sqrt(3)
        for entry in (best, second)
    ]
    error = difference(best, second).nats.error
    assert error == pytest.approx(math.hypot(over_rows, *over_seeds))
    assert "over the 397 test rows and the seeds" in headline(whole)[0]


def test_without_rows_the_errors_add_in_squares() -> None:
    found = difference(*comparison(VAE, PCA).best())
    assert found.paired_rows == 0
    assert found.nats == Number(22.0, pytest.approx(0.5))


def test_the_winner_is_named_with_its_lead() -> None:
    (sentence,) = headline(comparison(PCA, VAE))
    assert sentence == (
        "VAE explains unseen data best: 83.00 nats per datapoint (Amortized with IWAE), "
        "22.0 ± 0.5 more than PCA, each at its best (± one standard error of the two estimates)."
    )


def test_a_lead_within_two_errors_is_no_lead() -> None:
    (sentence,) = headline(comparison(VAE, {**PCA, "test_log_evidence": 82.1}))
    assert sentence.startswith("VAE and PCA explain unseen data about equally well")
    assert "0.90 ± 0.50" in sentence


def test_one_model_wins_nothing() -> None:
    assert headline(comparison(VAE)) == [
        "VAE explains unseen data with a log evidence of 83.00 nats per datapoint "
        "(Amortized with IWAE)."
    ]


def test_no_evidence_is_said() -> None:
    assert headline(comparison({"model": "VAE"})) == [
        "No run has finished with an evidence to compare yet."
    ]


def test_the_greatest_loss_is_named_and_the_least_of_that_model() -> None:
    sentences = headline(
        comparison(
            {**VAE, "inference_gap": 2.0},
            {**VAE, "guide": "PerDatapoint", "inference_gap": 9.5},
            {**PCA, "inference_gap": 0.0},
        )
    )
    assert sentences[1] == (
        "Most evidence is lost by PerDatapoint with IWAE on VAE: its ELBO lies 9.50 nats below the "
        "log evidence; least on that model by Amortized with IWAE: 2.00 nats."
    )


def test_a_sound_comparison_passes_every_check(folder: OutputFolder) -> None:
    (whole,) = read(folder)
    found = checks(whole)
    assert len(found) == 3
    assert all(check.passed for check in found)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({**VAE, "test_elbo": 85.0, "test_elbo_se": 0.3}, "ELBO exceeds the log evidence"),
        ({**VAE, "exact_log_evidence": 84.5}, "5.0 standard errors from the exact one: run0"),
        ({**VAE, "k_hat_bad_share": 0.2}, "too heavy a tail"),
        ({**VAE, "not_finite": ["test_elbo"]}, "test_elbo of VAE, Amortized, IWAE"),
    ],
)
def test_planted_mistakes_are_found(row: dict[str, Any], told: str) -> None:
    found = [check for check in checks(comparison(row)) if not check.passed]
    assert len(found) == 1
    assert told in found[0].sentence


@pytest.mark.parametrize(
    "row",
    [
        {**VAE, "test_elbo": 84.0, "test_elbo_se": 0.3},
        {**VAE, "exact_log_evidence": 83.9},
        {**VAE, "test_log_evidence_se": 0.0, "exact_log_evidence": 83.001},
        {**VAE, "k_hat_bad_share": 0.05},
        {**VAE, "not_finite": ["objective_options.max_plate_nesting"]},
    ],
)
def test_noise_is_no_mistake(row: dict[str, Any]) -> None:
    assert all(check.passed for check in checks(comparison(row)))


def test_failed_runs_are_counted() -> None:
    (whole,) = compare([Record(name="a", status="failed", error="Why.")])
    (check,) = checks(whole)
    assert check.sentence == "1 run failed; see below the table."
