"""What a run writes comes back as it was, whole or not at all."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyrovae import records
from pyrovae.records import METRICS, OutputFolder, RunFolder
from pyrovae.storage import files


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    return OutputFolder.claim(tmp_path / "out")


@pytest.fixture
def run(folder: OutputFolder) -> RunFolder:
    run = folder.run("vae-iwae-0")
    run.start("seed: 0\n")
    return run


def test_a_new_folder_is_made_and_may_be_claimed_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out"
    OutputFolder.claim(path)
    (path / "report.html").write_text("an earlier page")
    assert OutputFolder.claim(path).runs() == []


def test_an_empty_folder_may_be_claimed(tmp_path: Path) -> None:
    assert OutputFolder.claim(tmp_path).path == tmp_path


def test_a_folder_of_something_else_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds files that pyrovae did not write"):
        OutputFolder.claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_may_be_claimed_again_after_a_crash_while_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(path: Path, _: object) -> None:
        path.with_name(f".{path.name}.0a1b2c3d.tmp").touch()  # as SIGKILL leaves it
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            OutputFolder.claim(tmp_path / "out")
    assert OutputFolder.claim(tmp_path / "out").runs() == []


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        OutputFolder.claim(tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"):
        OutputFolder.claim(tmp_path / "file" / "out")


def test_open_wants_a_folder_with_runs(folder: OutputFolder, tmp_path: Path) -> None:
    assert OutputFolder.open(folder.path) == folder
    with pytest.raises(ValueError, match="is not an output folder"):
        OutputFolder.open(tmp_path)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a" * 201, "a b"])
def test_a_name_that_is_no_plain_file_name_is_refused(folder: OutputFolder, name: str) -> None:
    with pytest.raises(ValueError, match="run's name"):
        folder.run(name)


def test_a_record_comes_back(run: RunFolder) -> None:
    record = {"name": run.name, "status": "finished", "test_elbo": np.float32(2.5), "seed": 0}
    run.write_record({**record, "data": {"shape": (8, 8), "rows": np.int64(3), "at": Path("x")}})
    assert run.record() == {**record, "data": {"shape": [8, 8], "rows": 3, "at": "x"}}


def test_nan_and_infinity_become_null_and_are_named(run: RunFolder) -> None:
    bad = {"test_elbo": math.nan, "data": {"low": -math.inf, "rows": [1, np.float32("nan")]}}
    run.write_record({"name": run.name, "status": "finished", **bad})
    record = run.record()
    assert record["test_elbo"] is None
    assert record["data"] == {"low": None, "rows": [1, None]}
    assert record["not_finite"] == ["test_elbo", "data.low", "data.rows.1"]
    json.loads((run.path / "record.json").read_text(), parse_constant=pytest.fail)


def test_results_written_from_records_read_keep_what_was_not_finite(folder: OutputFolder) -> None:
    folder.write_results([{"name": "a", "test_elbo": math.nan}])
    folder.write_results(folder.results())
    assert folder.results() == [{"name": "a", "test_elbo": None, "not_finite": ["test_elbo"]}]


def test_a_record_must_fit_its_folder(run: RunFolder) -> None:
    with pytest.raises(ValueError, match="must have that name"):
        run.write_record({"name": "another", "status": "finished"})
    with pytest.raises(ValueError, match="'finished' or 'failed'"):
        run.write_record({"name": run.name, "status": "done"})
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        run.write_record({"name": run.name, "status": "finished", "error": object()})
    assert run.record()["status"] == "unfinished"


def test_a_finished_run_is_found_by_its_configuration(run: RunFolder) -> None:
    assert run.finished() is None
    run.write_record({"name": run.name, "status": "failed", "error": "Loss is NaN at step 3."})
    assert run.finished() is None
    run.write_record({"name": run.name, "status": "finished"})
    assert run.finished() is not None
    assert run.finished("seed: 0\n") is not None
    assert run.finished("seed: 1\n") is None


def test_start_forgets_an_earlier_attempt(run: RunFolder) -> None:
    run.append_metrics([{"step": 1}])
    run.write_arrays({"image_shape": [8, 8]})
    run.write_record({"name": run.name, "status": "failed"})
    run.start("seed: 1\n")
    assert [path.name for path in run.path.iterdir()] == ["config.yaml"]
    assert run.config() == "seed: 1\n"


def test_metrics_grow_row_by_row(run: RunFolder) -> None:
    assert {key: len(column) for key, column in run.metrics().items()} == dict.fromkeys(METRICS, 0)
    run.append_metrics([{"step": 1, "train_bound": 0.1}])
    run.append_metrics([{"step": 2, "train_bound": None}, {"step": 3, "train_bound": 1e-300}])
    np.testing.assert_array_equal(run.metrics()["step"], [1, 2, 3])
    np.testing.assert_array_equal(run.metrics()["train_bound"], [0.1, np.nan, 1e-300])
    assert np.isnan(run.metrics()["validation_bound"]).all()
    with pytest.raises(ValueError, match="extra"):
        run.append_metrics([{"extra": 1}])


@pytest.mark.parametrize("kept", [3, 40, 52, 56])
def test_a_row_cut_by_a_crash_is_dropped(run: RunFolder, kept: int) -> None:
    run.append_metrics([{"step": 1, "seconds": 0.25}, {"step": 2, "seconds": 0.5}])
    path = run.path / "metrics.csv"
    path.write_bytes(path.read_bytes()[:kept])
    whole = max(path.read_bytes().count(b"\n") - 1, 0)
    assert len(run.metrics()["step"]) == whole
    run.append_metrics([{"step": 9}])
    np.testing.assert_array_equal(run.metrics()["step"], [*range(1, whole + 1), 9])


def test_arrays_come_back_without_pickle(run: RunFolder) -> None:
    assert run.arrays() == {}
    images = np.linspace(0, 1, 128).reshape(2, 64)
    run.write_arrays({"test_images": images, "latent_axes": ["z1", "z2"], "image_shape": (8, 8)})
    arrays = run.arrays()
    assert arrays["test_images"].dtype == np.float32
    np.testing.assert_array_equal(arrays["test_images"], images.astype(np.float32))
    assert arrays["latent_axes"].tolist() == ["z1", "z2"]
    with pytest.raises(TypeError, match="Python objects"):
        run.write_arrays({"latent_axes": np.array([None, {}])})
    with pytest.raises(ValueError, match="Unknown array 'sample'"):
        run.write_arrays({"sample": images})


def test_foreign_contents_are_named(run: RunFolder, folder: OutputFolder) -> None:
    (run.path / "arrays.npz").write_bytes(b"not arrays")
    (run.path / "record.json").write_text("[1]")
    (folder.path / "results.json").write_text("{")
    with pytest.raises(ValueError, match=r"arrays\.npz is not a readable set"):
        run.arrays()
    with pytest.raises(ValueError, match=r"record\.json is not a record"):
        run.record()
    with pytest.raises(ValueError, match=r"results\.json is not readable JSON"):
        folder.results()


def test_records_are_those_on_disk_then_those_in_results(folder: OutputFolder) -> None:
    for name in ("b", "a"):
        folder.run(name).start("")
    folder.run("b").write_record({"name": "b", "status": "failed", "error": "Why."})
    folder.write_results([{"name": "b", "status": "finished"}, {"name": "gone", "seed": 1}])
    assert [(r["name"], r.get("status")) for r in folder.records()] == [
        ("a", "unfinished"),
        ("b", "failed"),
        ("gone", None),
    ]


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"\xff", b'{"status": "finished", "data": "x"}', b'{"status": "fine"}']
)
def test_an_unreadable_record_fails_its_run_and_no_other(
    folder: OutputFolder, content: bytes
) -> None:
    for name in ("a", "b"):
        folder.run(name).start("")
        folder.run(name).write_record({"name": name, "status": "finished", "seed": 1})
    (folder.run("a").path / "record.json").write_bytes(content)
    damaged, whole = folder.records()
    assert damaged["status"] == "failed"
    assert "a/record.json is not" in str(damaged["error"])
    assert "Remove the file" in str(damaged["error"])
    assert whole["seed"] == 1


def test_unreadable_results_are_left_out_with_a_note(
    folder: OutputFolder, caplog: pytest.LogCaptureFixture
) -> None:
    (folder.path / "results.json").write_text('[{"seed": "one"}]')
    assert folder.records() == []
    assert "its seed is 'one'. It is left out." in caplog.text


def test_a_write_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    files.write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
    assert path.read_bytes() == b"old"


def test_reading_results_needs_no_torch() -> None:
    code = "import sys, pyrovae.records, pyrovae.report; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
