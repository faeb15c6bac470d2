"""`pyrovae fit` as several processes: one of them speaks and writes."""

import json

FIT = ["-m", "pyrovae", "fit", "--model", "ProbabilisticPCA", "--guide", "PerDatapoint"]


def test_the_first_process_prints_and_writes(tmp_path, start):
    draws = ["--evidence", "ImportanceSampling", "--evidence.num_particles", "10"]
    draws += ["--evaluate.refit_steps", "5"]
    words = [*FIT, "--fit.epochs", "2", *draws, "--output", str(tmp_path)]
    statuses, out, err = start(words)
    assert statuses == [0, 0], err
    assert "log evidence" in out[0]
    assert out[1] == err[1] == ""
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "record.json").read_text())["status"] == "finished"
    assert len(list(run.glob("rows-parameters-*-of-00002.safetensors"))) == 2
    statuses, out, err = start(words)
    assert statuses == [0, 0]
    assert "finished before" in out[0] + err[0]
    assert out[1] == err[1] == ""


def test_a_mistake_is_told_once(start):
    statuses, out, err = start([*FIT, "--fit.epoch", "2"])
    assert statuses == [2, 2]
    assert "".join([*out, *err]).count("did you mean --fit.epochs") == 1


def test_other_commands_are_refused(start):
    statuses, _, err = start(["-m", "pyrovae", "list"])
    assert statuses == [2, 2]
    assert "".join(err).count("torchrun is for pyrovae fit; start pyrovae list without it.") == 1
