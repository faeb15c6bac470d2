import pytest
import torch

from pyrovae.comparison.engines import ThisMachine, WorkerDiedError
from pyrovae.comparison.grid_progress import GridProgress
from pyrovae.experiment import run
from pyrovae.records import OutputFolder
from pyrovae.registry.notes import Notes
from pyrovae.running.config import Config, Part
from pyrovae.sweep import _begin_or_go_on, _record_failure, compare, finished
from pyrovae.training.resume import Keeping

QUICK = {
    "fit": {"epochs": 1, "batch_size": 600},
    "evaluate": {"elbo_particles": 2},
    "evidence": Part("ImportanceSampling", {"num_particles": 2}),
}
PCA = Config(model=Part("ProbabilisticPCA", {"latent": 2}), guide=Part("ExactPosterior"), **QUICK)

# A model whose run ends with the process that carries it.
DEADLY = """
import os

from pyrovae.models import ProbabilisticPCA


class Deadly(ProbabilisticPCA):
    def initialise(self, x, seed=0):
        os._exit(9)
"""


def variants():
    good = [Config(**{**vars(PCA), "seed": seed}).complete() for seed in (0, 1)]
    bad = Config(
        **{**vars(PCA), "optim": Part("SGD", {"lr": 1e30}), "fit": {"epochs": 9}}
    ).complete()
    wrong = Config(**{**vars(PCA), "model": Part("VAE")}).complete()
    return good, bad, wrong


def written(output, config):
    return (output.run(config.run_name).path / "record.json").stat().st_mtime_ns


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two runs that finish, one that diverges and one whose parts do not fit, two at a time."""
    output = OutputFolder.claim(tmp_path_factory.mktemp("sweep"))
    good, bad, wrong = variants()
    good = (PCA, good[1])  # with options left out: a run's name is that of what is carried out
    records = compare([good[0], bad, wrong, good[1]], output, jobs=2, progress=False)
    return output, records


def test_failed_runs_stop_no_other_and_are_in_the_results(compared):
    output, records = compared
    assert [r["status"] for r in records] == ["finished", "failed", "failed", "finished"]
    assert "learning rate" in records[1]["error"]
    assert "closed-form posterior" in records[2]["error"]
    assert [r["name"] for r in output.results()] == [r["name"] for r in records]
    assert records[1]["model"] == "ProbabilisticPCA"


def test_finished_runs_are_used_again_and_failed_ones_tried_again(compared):
    output, records = compared
    good, bad, _ = variants()
    runs = [*good, bad]
    when = [written(output, config) for config in runs]
    again = compare(runs, output, jobs=1, progress=False)
    assert [r["status"] for r in again] == ["finished", "finished", "failed"]
    assert [written(output, c) == w for c, w in zip(runs, when, strict=True)] == [True, True, False]


def test_a_run_in_a_worker_is_the_run_in_this_process(compared, tmp_path):
    _, records = compared
    here = run(variants()[0][0], progress=False)
    for key in ("test_elbo", "test_log_evidence", "exact_log_evidence"):
        assert here[key] == records[0][key]


def test_another_configuration_is_not_taken_for_a_finished_one(compared):
    output, _ = compared
    good, _, _ = variants()
    folder = output.run(good[0].run_name)
    assert finished(good[0], output) is not None
    text = folder.config()
    try:
        (folder.path / "config.yaml").write_text(text.replace("latent: 2", "latent: 3"))
        assert finished(good[0], output) is None
    finally:
        (folder.path / "config.yaml").write_text(text)


def test_a_damaged_record_fails_its_run_and_stops_no_other(compared):
    output, _ = compared
    good, _, _ = variants()
    path = output.run(good[0].run_name).path / "record.json"
    content = path.read_bytes()
    try:
        path.write_bytes(content[:40])
        damaged, whole = compare(good, output, jobs=1, progress=False)
        assert (damaged["status"], whole["status"]) == ("failed", "finished")
        assert f"{path} is not readable JSON" in damaged["error"]
        assert path.read_bytes() == content[:40]  # a person may want to look at it
    finally:
        path.write_bytes(content)


def test_a_worker_that_dies_fails_its_run_and_no_other(tmp_path, monkeypatch):
    (tmp_path / "mylab_deadly.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path)
    deadly = Config(**{**vars(PCA), "model": Part("mylab_deadly.Deadly")}).complete()
    output = OutputFolder.claim(tmp_path / "out")
    good = variants()[0][0]
    records = compare([deadly, good], output, jobs=2, progress=False)
    assert [r["status"] for r in records] == ["failed", "finished"]
    assert "died" in records[0]["error"]


def stopped(config, output):
    """A run that was stopped after its first epoch."""
    folder = output.run(config.run_name)

    def stop(at):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, folder, progress=False, on_epoch=stop, keeping=Keeping(steps=1))
    assert folder.has_checkpoints
    return folder


def test_a_failure_leaves_the_checkpoints_of_an_earlier_attempt(tmp_path):
    config, output = variants()[0][0], OutputFolder.claim(tmp_path)
    folder = stopped(config, output)
    assert _record_failure(config, output, WorkerDiedError())["status"] == "failed"
    assert folder.has_checkpoints


def test_a_run_that_cannot_go_on_to_the_same_bits_begins_anew_and_says_why(tmp_path, monkeypatch):
    config, output = variants()[0][0], OutputFolder.claim(tmp_path)
    folder = stopped(config, output)
    threads = torch.get_num_threads() + 1
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    with Notes() as notes:
        assert _begin_or_go_on(config, folder)["status"] == "finished"
    (said,) = notes.said
    assert f"{folder.name} begins anew: this fit cannot go on" in said
    assert f"{threads} now" in said


def test_the_last_run_of_many_has_the_threads_of_the_others(compared, monkeypatch):
    """Or a comparison that is stopped at its last run could not go on with it."""
    output, _ = compared
    good, _, _ = variants()
    asked = []

    class Noted(ThisMachine):
        def __init__(self, jobs, runs, begun):
            super().__init__(jobs, runs, begun)
            asked.append(self.threads)

    monkeypatch.setattr("pyrovae.sweep.ThisMachine", Noted)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    compare(good, output, jobs=2, progress=False)  # both are finished
    assert asked == [1]


def test_jobs_below_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        compare([], OutputFolder.claim(tmp_path), jobs=0)


def test_progress_in_a_log_is_lines_without_control_characters(compared, capsys):
    output, records = compared
    good, bad, _ = variants()
    names = [r["name"] for r in records]
    waiting = {c.run_name: c for c in (good[0], bad)}
    with GridProgress(names, waiting, output, jobs=2) as shown:
        shown.done(records[0])
        shown.done(records[1])
    log = capsys.readouterr().err
    lines = log.splitlines()
    assert lines[0] == "2 of 4 runs were finished before and are used again."
    assert lines[1] == f"2 runs to do, 2 at a time, in {output.path}"
    assert lines[2].startswith(
        "[3/4] ProbabilisticPCA + ExactPosterior + ELBO, seed 0: log evidence "
    )
    assert lines[3].startswith("[4/4] ")
    assert "FAILED" in lines[3]
    assert "\r" not in log
    assert "\x1b" not in log


def test_each_configuration_has_its_record_and_equal_ones_the_same(compared):
    """One record came back for two configurations that were equal."""
    output, records = compared
    assert compare([PCA, PCA], output, progress=False) == [records[0], records[0]]
