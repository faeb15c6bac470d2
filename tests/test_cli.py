import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pyrovae.cli import COMMANDS, main
from pyrovae.records import OutputFolder
from pyrovae.registry import parts
from pyrovae.running.config import Config
from pyrovae.storage.files import read_json
from pyrovae.training.loop import Trainer

ROOT = Path(__file__).parent.parent
FAST = [
    "--fit.epochs=1",
    "--fit.batch_size=600",
    "--evidence.num_particles=4",
    "--evaluate.elbo_particles=2",
    "--model.latent=2",
]
SMALL = [*FAST, "--model.hidden=[4]", "--guide.hidden=[4]"]


def pyrovae(*words, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pyrovae", *map(str, words)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """An output folder with one run in it, made from the command line."""
    folder = tmp_path_factory.mktemp("cli") / "out"
    assert main(["fit", *SMALL, f"--output={folder}", "--quiet"]) == 0
    return folder


def test_help_answers_at_once_and_without_torch():
    began = time.perf_counter()
    code = "import sys; from pyrovae.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)
    assert time.perf_counter() - began < 2.0  # half a second on an idle machine


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"usage: pyrovae {command}" in capsys.readouterr().out


def test_help_shows_every_option_of_the_chosen_parts(capsys):
    assert main(["fit", "--model=GaussianMixture", "--objective=Renyi", "--help"]) == 0
    shown = capsys.readouterr().out
    for kind, name in (("model", "GaussianMixture"), ("objective", "Renyi"), ("data", "Digits")):
        for option in parts.options(kind, name):
            assert f"--{kind}.{option} " in shown
    assert "--model.hidden" not in shown


def test_a_run_from_the_command_line(fitted, capsys):
    (run,) = OutputFolder.open(fitted).runs()
    assert run.record()["model_options"]["hidden"] == [4]
    assert main(["fit", *SMALL, f"--output={fitted}"]) == 0
    shown = capsys.readouterr()
    assert "log evidence" in shown.out
    assert "finished before" in shown.err


def test_a_run_that_was_stopped_goes_on_with_the_same_command(tmp_path, monkeypatch, capsys):
    words = ["fit", *SMALL, "--fit.epochs=3", "--quiet", f"--output={tmp_path}"]
    close, closed = Trainer.close_epoch, []

    def stop_after_two(trainer, bound, shown):
        close(trainer, bound, shown)
        closed.append(len(trainer.state.measured))
        if closed == [1, 2]:
            signal.raise_signal(signal.SIGTERM)  # heard at the next step, which is in the third

    monkeypatch.setattr(Trainer, "close_epoch", stop_after_two)
    assert main(words) == 143
    assert main(words) == 0
    assert "goes on" in capsys.readouterr().err
    assert closed == [1, 2, 3]


def test_a_file_with_other_data_is_another_run_and_the_old_one_is_left_alone(tmp_path, capsys):
    def write(seed):
        np.savetxt(
            tmp_path / "rows.csv", np.random.default_rng(seed).normal(size=(40, 2)), delimiter=","
        )

    words = ["fit", "--data=Array", f"--data.source={tmp_path / 'rows.csv'}", "--quiet"]
    words += ["--model=ProbabilisticPCA", "--model.latent=1", f"--output={tmp_path / 'out'}"]
    write(0)
    assert main([*words, "--fit.epochs=1"]) == 0
    (first,) = OutputFolder.open(tmp_path / "out").runs()
    write(1)
    assert main([*words, "--fit.epochs=1"]) == 0
    assert "finished before" not in capsys.readouterr().err
    of_both = {record["test_elbo"] for record in OutputFolder.open(tmp_path / "out").records()}
    assert len(of_both) == 2
    assert main(["evaluate", str(first.path)]) == 2
    assert "rows.csv holds other data than it did" in capsys.readouterr().err
    (first.path / "record.json").unlink()  # as if it had been stopped
    write(0)
    assert main([*words, "--fit.epochs=1"]) == 0
    assert {r["test_elbo"] for r in OutputFolder.open(tmp_path / "out").records()} == of_both
    write(1)
    (first.path / "record.json").unlink()
    assert main(["fit", "--resume", str(first.path)]) == 2
    assert "rows.csv holds other data than it did" in capsys.readouterr().err


def test_taking_up_a_finished_run_leaves_it_alone(fitted, tmp_path, capsys):
    (run,) = OutputFolder.open(shutil.copytree(fitted, tmp_path / "out")).runs()
    text = run.config().replace("  row_lr: null\n", "")  # as before there was such an option
    (run.path / "config.yaml").write_text(text)
    before = {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()}
    assert main(["fit", "--resume", str(run.path), "--quiet"]) == 0
    assert "finished before" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()} == before


def test_a_fitted_run_is_scored_again(fitted, capsys):
    (run,) = OutputFolder.open(fitted).runs()
    words = ["evaluate", str(run.path), "--evidence.num_particles", "7", "--part", "validation"]
    words += ["--diagnose", "quick"]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert re.search(r"log evidence +-?\d+\.\d+ ± \d", shown.out)
    assert "have a k-hat above" in " ".join(shown.out.split())
    saved = read_json(run.path / "diagnosis.json")
    assert len(saved["words"]) >= 5
    assert saved["numbers"]["particles"] == 200
    assert len(saved["rows"]["k_hat"]) == saved["numbers"]["rows"]


def test_the_report_is_made_again(fitted, capsys):
    assert main(["report", str(fitted)]) == 0
    assert (fitted / "report.html").is_file()
    assert "Amortized" in capsys.readouterr().out


def test_a_table_is_printed_where_there_are_no_letters_but_ascii(fitted):
    done = subprocess.run(
        [sys.executable, "-m", "pyrovae", "report", str(fitted)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert b"log evidence" in done.stdout


def test_the_list_needs_no_kind(capsys):
    assert main(["list", "--help"]) == 0
    assert "(required)" not in capsys.readouterr().out


def test_infinity_can_be_written(capsys):
    words = ["fit", "--objective=Renyi", "--objective.alpha", "-inf", "--print_config"]
    assert main(words) == 0
    assert Config.from_yaml(capsys.readouterr().out).objective.options["alpha"] == float("-inf")


def test_a_printed_configuration_is_read_back(tmp_path, capsys):
    words = ["fit", "--model=ProbabilisticPCA", "--model.latent=3", "--seed=4", "--print_config"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    config = Config.from_yaml(printed)
    assert (config.model.options["latent"], config.seed) == (3, 4)
    assert config.guide.name == "ExactPosterior"  # follows from the model
    path = tmp_path / "run.yaml"
    path.write_text(printed)
    assert main(["fit", "--config", str(path), "--print_config"]) == 0
    assert capsys.readouterr().out == printed
    assert main(["fit", "--config", str(path), "--seed=5", "--print_config"]) == 0
    assert capsys.readouterr().out == printed.replace("seed: 4", "seed: 5")


def test_a_default_that_no_file_can_hold_is_left_to_its_class(tmp_path, monkeypatch, capsys):
    (tmp_path / "mylab_starts.py").write_text(
        "import torch\nfrom pyrovae.models import VAE\n\n\nclass Mine(VAE):\n"
        "    def __init__(self, features, *, latent: int = 3, start=torch.randn):\n"
        "        super().__init__(features, latent=latent)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["fit", "--model=mylab_starts.Mine", "--model.latent=5", "--print_config"]) == 0
    assert Config.from_yaml(capsys.readouterr().out).model.options == {"latent": 5}


def test_data_have_the_name_that_they_were_given(capsys):
    words = ["--data=Array", "--data.source=rows.csv", "--data.name=trees", "--print_config"]
    assert main(["fit", *words]) == 0
    config = Config.from_yaml(capsys.readouterr().out)
    assert (config.data.name, config.data.options["name"]) == ("Array", "trees")


def test_options_of_another_part_are_dropped_with_it(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("model: {name: ProbabilisticPCA, latent: 3}\nfit: {epochs: 7}\n")
    assert main(["fit", f"--config={path}", "--model=GaussianMixture", "--print_config"]) == 0
    config = Config.from_yaml(capsys.readouterr().out)
    assert config.model.options["components"] == 10
    assert config.fit["epochs"] == 7


def test_the_list_names_every_part_with_its_options(capsys):
    assert main(["list", "--long"]) == 0
    shown = capsys.readouterr().out
    for kind in ("model", "guide", "objective", "evidence", "data"):
        for name in parts.names(kind):
            assert re.search(rf"^  {name} +\S", shown, re.MULTILINE)
            for option in parts.options(kind, name):
                assert f"--{kind}.{option}: " in shown
    assert "An implementation of Renyi's alpha-divergence variational inference" in shown


REFUSED = {
    "compar": "known: compare, fit",
    "fit --model VEA": "did you mean VAE? Known: ",
    "fit --model": "--model needs a name",
    "fit --model nowhere.Mine": "cannot be imported",
    "fit --modle VAE": "did you mean --model?",
    "fit VAE": "Unknown argument 'VAE'",
    "fit --sched StepLR": "did you mean --scheduler?",
    "fit --confi run.yaml": "did you mean --config?",
    "fit --resum runs/NAME": "did you mean --resume?",
    "fit --resume runs/NAME --any": "leave out '--any'",
    "fit --model.latnt 3": "did you mean latent? Its options: latent, hidden",
    "fit --model.features 3": "follows from the data",
    "fit --model.latent x": "--model.latent must be a whole number; got x",
    "fit --model.latent 0": "at least 1",
    "fit --model GaussianMixture --model.components 0": "at least 1",
    "fit --model GaussianMixture --model.covariance odd": "full or diagonal or tied or spherical; got odd",
    "fit --guide.family odd": "the known ones are",
    "fit --model VAE --guide ExactPosterior": "closed-form posterior",
    "fit --model.likelihood bernoulli": "binarise them",
    "fit --objective Renyi --objective.alpha 1": "objectives.ELBO",
    "fit --objective Renyi --objective.alpha nan": "objectives.ELBO",
    "fit --objective Renyi --objective.alpha inf": "objectives.ELBO",
    "fit --objective IWAE --objective.num_particles 0": "at least 1",
    "fit --objective Trace_ELBO --objective.num_particles 0": "at least 1",
    "fit --evidence.num_particles 0": "at least 1",
    "fit --data.form odd": "dequantized or binary",
    "fit --fit.epochs 0": "at least 1",
    "fit --fit.epoch 3": "did you mean --fit.epochs?",
    "fit --scheduler.T_max 3": "choose one with --scheduler NAME",
    "fit --optim.lr x": "--optim.lr must be a number; got x",
    "fit --optim.lr -1": "Invalid learning rate",
    "fit --seed 1.5": "--seed must be a whole number; got 1.5",
    "fit --seed -1": "at least 0",
    "fit --device nowhere": "cannot be used",
    "fit --config nowhere.yaml": "cannot be read",
    "fit --fit.patience 3 --guide PerDatapoint": "cannot score rows",
    "evaluate": "Name the folder of a run first",
    "evaluate nowhere": "is not the folder of a run",
    "report": "required",
    "report nowhere": "is not an output folder",
    "list modls": "did you mean models?",
    "compare --models VEA": "did you mean VAE?",
    "compare --objectives": "expected at least one argument",
    "compare --seeds 1 x": "must be a whole number; got x",
    "compare --epochs 0": "at least 1",
    "compare --jobs 0": "at least 1",
    "compare --fit.epochs 3": "Unknown argument",
}


@pytest.mark.parametrize("line", REFUSED)
def test_mistakes_become_one_sentence_and_status_2(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert REFUSED[line] in shown.err
    assert shown.err.count("\n") == 1
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("optim: {name: Adam, lr: abc}", "optim.lr must be a number; got 'abc'."),
        ("fit: {epochs: 2.5}", "fit.epochs must be a whole number; got 2.5."),
        ("model: {name: VAE, latent: null}", "model.latent must be a whole number; got None."),
        ("model: {name: VAE, hidden: 64}", "model.hidden must be a list such as [1, 2]; got 64."),
        ("data: {name: Array, source: x.csv, missing: maybe}", "data.missing must be true or"),
    ],
)
def test_a_value_of_another_type_in_a_file_is_named(written, sentence, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(written)
    assert main(["fit", "--config", str(tmp_path / "c.yaml"), "--print_config"]) == 2
    assert capsys.readouterr().err.startswith(f"pyrovae fit: {sentence}")


def test_a_number_in_text_in_a_file_is_a_number(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("optim: {name: Adam, lr: '0.01', weight_decay: 0}")
    assert main(["fit", "--config", str(tmp_path / "c.yaml"), "--print_config"]) == 0
    options = Config.from_yaml(capsys.readouterr().out).optim.options
    assert options["lr"] == 0.01
    assert repr(options["weight_decay"]) == "0"  # or the run would have another name


def test_a_file_for_a_comparison_may_choose_its_data_and_nothing_else(tmp_path, capsys):
    file = tmp_path / "settings.yaml"
    file.write_text("data: {name: Ring}\nseed: 5\n")
    assert main(["compare", f"--config={file}", f"--output={tmp_path / 'out'}"]) == 2
    assert "sets 'seed'; here a file may set data only" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["occupied", "file", "/proc/none"])
def test_folders_that_are_not_ours_are_refused_and_left_alone(
    folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    assert main(["fit", f"--output={folder}"]) == 2
    assert str(folder) in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "occupied").iterdir()] == ["thesis.txt"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_traceback_is_shown_to_those_who_ask():
    with pytest.raises(ValueError, match="did you mean VAE"):
        main(["fit", "--model", "VEA", "--traceback"])


def test_a_failed_run_makes_the_status_of_a_comparison_1(tmp_path, capsys):
    words = ["compare", "--models", "VAE", "--guides", "ExactPosterior", "--objectives", "IWAE"]
    assert main([*words, "--jobs", "1", f"--output={tmp_path / 'out'}"]) == 1
    shown = capsys.readouterr()
    assert "closed-form posterior" in shown.out
    assert "1 of 1 runs failed" in shown.err
    assert (tmp_path / "out" / "report.html").is_file()


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(tmp_path):
    words = ["compare", "--models", "GaussianMixture", "--objectives", "IWAE", "--epochs", "1"]
    words += ["--jobs", "1", f"--output={tmp_path / 'out'}"]
    assert main([*words, "--quiet"]) == 0
    other = OutputFolder(tmp_path / "out").run("another-comparison")  # is not counted with this one
    other.start("")
    other.write_record({"name": other.name, "status": "finished"})
    process = pyrovae(*words, "--seeds", "0", "1", start_new_session=True)
    assert process.stderr is not None
    assert "1 of 2 runs were finished before" in process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    if process.returncode == 130:
        assert "1 of 2 runs are finished and kept" in errors
        assert "run the same command again" in errors
        assert "Traceback" not in errors
    else:  # the second run was faster than the signal
        assert process.returncode == 0


def test_ctrl_c_while_packages_are_imported_is_an_end_like_any_other():
    code = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'numpy': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from pyrovae.cli import main\n"
        "sys.exit(main(['report', 'somewhere']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, "Traceback" in done.stderr) == (130, False)
    assert "Stopped." in done.stderr


OWN_DATA = """
import numpy as np
from pyrovae.data import Array


class Trees(Array):
    def __init__(self) -> None:
        Array.__init__(self, np.load("trees.npy"))
"""


def test_a_finished_run_does_not_answer_for_other_rows_of_a_class_of_ones_own(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "own_trees.py"
    source.write_text(OWN_DATA)
    words = ["fit", "--data=own_trees.Trees", "--model=ProbabilisticPCA", "--guide=ExactPosterior"]
    words += ["--fit.epochs=1", "--quiet", "--output=out"]

    def said(seed):
        np.save("trees.npy", np.random.default_rng(seed).normal(size=(40, 3)))
        assert main(words) == 0
        return capsys.readouterr().err

    assert "finished before" not in said(1)
    assert "finished before" in said(1)
    assert "own_trees.Trees has other rows" in said(2)
    assert "finished before" in said(2)
    (run,) = (tmp_path / "out" / "runs").iterdir()
    os.utime(source, (2e9, 2e9))
    assert "own_trees.py is newer than the run" in said(2)
    np.save("trees.npy", np.zeros((40, 3)))
    assert main(["evaluate", str(run), "--diagnose=none"]) == 2
    assert "has other rows than when" in capsys.readouterr().err
