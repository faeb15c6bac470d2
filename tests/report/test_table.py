"""The table for the terminal."""

from __future__ import annotations

from pyrovae import report
from pyrovae.records import OutputFolder, Record


def test_best_evidence_first_every_run_once(folder: OutputFolder) -> None:
    lines = report.table(folder.records()).splitlines()
    assert lines[0] == "digits, dequantized, 1200 train / 200 validation / 397 test rows, split 0"
    assert lines[1].split()[:3] == ["model", "guide", "objective"]
    rows = lines[4:15]
    assert rows[0].split()[:6] == ["VAE", "Amortized", "IWAE", "83.90", "±", "0.01"]
    assert rows[-1].split()[0] == "GaussianMixture"
    assert lines[-1] == "nats per datapoint, larger is better, ± one standard error"


def test_columns_line_up(folder: OutputFolder) -> None:
    lines = report.table(folder.records()).splitlines()[1:15]
    assert len({len(line) for line in lines}) == 1
    end = lines[0].index("log evidence") + len("log evidence")
    assert all(line[end : end + 2] in ("  ", "──") for line in lines)


def test_seeds_are_told_where_there_are_several(
    folder: OutputFolder, seeds_folder: OutputFolder
) -> None:
    assert "seeds" not in report.table(folder.records())
    several = report.table(seeds_folder.records())
    assert "0, 1, 2" in several
    assert several.count("GaussianMixture") == 1


def test_failed_and_unfinished_runs_are_told_with_their_error() -> None:
    text = report.table(
        [
            Record(name="vae-0", status="failed", error="The loss is NaN at step 3."),
            Record(name="vae-1", status="unfinished"),
        ]
    )
    assert text.splitlines() == [
        "vae-0: failed (The loss is NaN at step 3.)",
        "vae-1: unfinished",
    ]


def test_tables_of_different_data_have_different_headings() -> None:
    data = {"name": "array", "form": "binary", "rows": {"train": 8}, "split_seed": 0}
    variants = [
        {"source": "a.csv", "fingerprint": "1a"},
        {"source": "a.csv", "fingerprint": "2b"},
        {"source": "b.csv", "fingerprint": "1a"},
        {"source": "b.csv", "fingerprint": "1a", "levels": 256},
    ]
    records: list[Record] = [
        {"name": str(i), "status": "finished", "data": {**data, **other}}
        for i, other in enumerate(variants)
    ]
    headings = [line for line in report.table(records).splitlines() if line.startswith("array")]
    assert headings == [
        "array, binary, a.csv, 8 train rows, split 0, fingerprint 1a",
        "array, binary, a.csv, 8 train rows, split 0, fingerprint 2b",
        "array, binary, b.csv, 8 train rows, split 0, levels unknown",
        "array, binary, b.csv, 8 train rows, split 0, levels 256",
    ]


def test_nothing_is_told_as_such() -> None:
    assert report.table([]) == "No runs."


def test_columns_without_data_are_left_out() -> None:
    text = report.table([Record(name="a", status="finished", model="VAE", test_log_evidence=1.0)])
    assert "exact" not in text
    assert "k-hat" not in text
    assert "unknown" in text
