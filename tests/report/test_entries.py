"""Records are grouped by data and by everything but the seed, and averaged rightly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pyrovae.records import OutputFolder, Record
from pyrovae.report.entries import Number, compare, read


def record(**changes: Any) -> Record:
    """A finished run, with some of its record changed."""
    made: dict[str, Any] = {
        "name": "run",
        "status": "finished",
        "data": {"name": "digits", "form": "binary"},
        "model": "VAE",
        "guide": "Amortized",
        "objective": "IWAE",
        "seed": 0,
        "test_log_evidence": 1.0,
        "test_log_evidence_se": 0.5,
    }
    return Record(**{**made, **changes})  # type: ignore[typeddict-item]


def test_runs_that_differ_in_their_seed_share_an_entry() -> None:
    (comparison,) = compare([record(seed=2, name="b"), record(seed=1, name="a")])
    (entry,) = comparison.entries
    assert [r["seed"] for r in entry.records] == [1, 2]


def test_the_mean_of_several_seeds_has_the_error_of_their_spread() -> None:
    values = [1.0, 2.0, 6.0]
    ((entry,),) = [c.entries for c in compare(record(test_log_evidence=v) for v in values)]
    assert entry.estimate == Number(3.0, pytest.approx(np.std(values, ddof=1) / math.sqrt(3)))


def test_but_not_less_than_their_own_errors_add_up_to() -> None:
    ((entry,),) = [c.entries for c in compare(record(seed=s) for s in range(4))]
    assert entry.estimate == Number(1.0, pytest.approx(0.5 / 2))


@pytest.mark.parametrize("value", [None, math.nan, True, "1"])
def test_what_is_no_number_is_left_out_of_the_mean(value: Any) -> None:
    ((entry,),) = [c.entries for c in compare([record(test_log_evidence=value)])]
    assert entry.estimate is None
    assert entry.evidence is None


def test_the_exact_evidence_counts_before_its_estimate() -> None:
    exact = record(exact_log_evidence=3.0, objective="A")
    (comparison,) = compare([record(test_log_evidence=2.0, objective="B"), exact])
    assert [entry.objective for entry in comparison.entries] == ["A", "B"]
    assert comparison.entries[0].evidence is not None
    assert comparison.entries[0].evidence.value == 3.0


def test_entries_without_evidence_come_last() -> None:
    (comparison,) = compare([record(test_log_evidence=None, objective="A"), record()])
    assert [entry.objective for entry in comparison.entries] == ["IWAE", "A"]


def test_the_best_entry_of_each_model_in_order() -> None:
    rows = [("VAE", 1.0), ("VAE", 5.0), ("PCA", 3.0), ("PCA", 2.0)]
    (comparison,) = compare(
        record(model=model, test_log_evidence=value, objective=str(value)) for model, value in rows
    )
    assert [entry.label for entry in comparison.best()] == [
        "VAE, Amortized, 5.0",
        "PCA, Amortized, 3.0",
    ]


def test_labels_tell_options_that_differ_and_alpha_always() -> None:
    options: list[dict[str, Any]] = [
        {
            "objective": "Renyi",
            "objective_options": {"alpha": 0.5, "num_particles": 8},
            "model": "PCA",
        },
        {"model_options": {"latent": 2, "hidden": [64]}},
        {"model_options": {"latent": 10, "hidden": [64]}},
    ]
    (comparison,) = compare(record(**changes) for changes in options)
    assert {entry.label for entry in comparison.entries} == {
        "PCA, Amortized, Renyi(alpha=0.5)",
        "VAE(latent=2), Amortized, IWAE",
        "VAE(latent=10), Amortized, IWAE",
    }


@pytest.mark.parametrize(
    ("one", "other", "label"),
    [
        ({"optim.lr": 0.01}, {"optim.lr": 0.001}, "VAE, Amortized, IWAE, optim.lr=0.01"),
        (
            {"optim.name": "SGD", "optim.momentum": 0, "fit.epochs": 3},
            {"optim.name": "Adam", "optim.eps": 1e-8, "fit.epochs": 3},
            "VAE, Amortized, IWAE, optim.name=SGD",
        ),
    ],
)
def test_runs_trained_or_scored_otherwise_are_no_seeds_of_one_another(
    one: dict[str, Any], other: dict[str, Any], label: str
) -> None:
    made = [record(settings=one), record(settings=one, seed=1), record(settings=other)]
    (comparison,) = compare([*made, record(settings=other, guide="PerDatapoint")])
    assert sorted(len(entry.records) for entry in comparison.entries) == [1, 1, 2]
    assert label in {entry.label for entry in comparison.entries}
    assert "VAE, PerDatapoint, IWAE" in {entry.label for entry in comparison.entries}


def test_a_schedule_as_long_as_the_fit_is_not_told_beside_it() -> None:
    def cosine(epochs: int, period: int) -> Record:
        name = {"scheduler.name": "CosineAnnealingLR", "scheduler.T_max": period}
        return record(settings={"fit.epochs": epochs, **name})

    without = record(settings={"fit.epochs": 3, "scheduler.name": "none"})
    for more, told in ([], ""), ([without], ", scheduler.name=CosineAnnealingLR"):
        (comparison,) = compare([cosine(3, 3), cosine(5, 5), *more])
        assert {f"VAE, Amortized, IWAE, fit.epochs={epochs}{told}" for epochs in (3, 5)} <= {
            entry.label for entry in comparison.entries
        }
    (comparison,) = compare([cosine(3, 3), cosine(3, 5)])
    assert comparison.entries[0].label == "VAE, Amortized, IWAE, scheduler.T_max=3"


def test_options_of_an_optimiser_are_told_from_those_of_the_same_alone() -> None:
    made = [{"optim.name": "Adam", "optim.lr": lr, "optim.eps": 1e-8} for lr in (0.01, 0.001)]
    made.append({"optim.name": "SGD", "optim.lr": 0.1})
    (comparison,) = compare(record(settings=settings) for settings in made)
    assert {entry.label.removeprefix("VAE, Amortized, IWAE, ") for entry in comparison.entries} == {
        "optim.name=Adam, optim.lr=0.01",
        "optim.name=Adam, optim.lr=0.001",
        "optim.name=SGD",
    }


def test_different_data_are_never_compared() -> None:
    grey = {"name": "digits", "form": "dequantized"}
    comparisons = compare([record(), record(data=grey), record()])
    assert [c.data["form"] for c in comparisons] == ["binary", "dequantized"]
    assert [len(c.entries[0].records) for c in comparisons] == [2, 1]


def test_runs_without_a_result_belong_to_the_only_comparison() -> None:
    failed = record(status="failed", error="Why.", data={"name": "Digits"})
    (comparison,) = compare([failed, record(), Record(name="x", status="unfinished")])
    assert [r["name"] for r in comparison.unfit] == ["run", "x"]
    assert len(comparison.entries) == 1


def test_failed_runs_alone_make_a_comparison() -> None:
    (comparison,) = compare([record(status="failed")])
    assert comparison.entries == ()
    assert comparison.best() == []


def test_rows_are_averaged_over_seeds(seeds_folder: OutputFolder) -> None:
    (comparison,) = read(seeds_folder)
    for entry in comparison.entries:
        assert len(entry.runs) == 3
        assert entry.rows is not None
        assert entry.evidence is not None
        assert entry.rows.mean() == pytest.approx(entry.evidence.value, abs=1e-4)


def test_unreadable_arrays_are_no_arrays(tmp_path: Any) -> None:
    folder = OutputFolder.claim(tmp_path / "out")
    run = folder.run("run")
    run.start("")
    run.write_record(record())
    (run.path / "arrays.npz").write_bytes(b"PK but not really")
    ((entry,),) = [c.entries for c in read(folder)]
    assert entry.arrays == {}
    assert entry.rows is None
