"""One fit by two processes against the same fit by one."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch

from pyrovae import checkpoint


def load(name):
    path = Path(__file__).parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"distributed_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worker = load("worker")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run):
    folder = tmp_path_factory.mktemp("two")
    statuses, said = run("everything", folder)
    assert statuses == [0, 0], said
    return folder


def kept(folder, name):
    return [checkpoint.load(folder / f"{name}-{rank}.safetensors") for rank in (0, 1)]


def same(found, expected, tolerance=1e-10):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=tolerance, atol=tolerance)


def test_a_fit_without_noise_is_that_of_one_process(folder):
    expected, history = worker.exact_fit()
    for found, metadata in kept(folder, "exact"):
        same(found, expected)
        assert metadata["bound"] == pytest.approx(history.train_bound.tolist(), rel=1e-10)


def test_a_process_for_which_no_row_is_left_takes_the_step_all_the_same(folder):
    expected, _ = worker.exact_fit(epochs=2, batch_size=22)
    for found, _ in kept(folder, "one_row"):
        same(found, expected)


@pytest.mark.parametrize(
    ("name", "options"), [("by_rows", {}), ("clipped", {"clip_norm": 1e-2, "optim": worker.SGD})]
)
def test_tables_are_divided_by_rows_and_move_as_in_one_process(folder, name, options):
    expected = worker.noise_fit(**options)
    (first, _), (second, _) = kept(folder, name)
    assert [len(found["guide.table"]) for found in (first, second)] == [11, 12]
    whole = torch.cat([first["guide.table"], second["guide.table"]])
    whole = {"guide.table": whole, "guide.noise": expected["guide.noise"]}
    same(first | whole, expected)
    same(second | whole, expected)


def test_a_process_for_which_no_row_is_left_moves_none(folder):
    found = [tensors["guide.table"] for tensors, _ in kept(folder, "single_rows")]
    same({"table": torch.cat(found)}, {"table": worker.single_rows_fit()["guide.table"].detach()})


def test_clipped_processes_stay_alike_to_the_bit(folder):
    (first, _), (second, _) = kept(folder, "clipped_narrow")
    same(first, second, 0.0)


@pytest.fixture(scope="module")
def said(tmp_path_factory, run):
    folder = tmp_path_factory.mktemp("disagreeing")
    statuses, errors = run("disagreeing", folder)
    assert statuses == [0, 0], errors
    return folder


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("values", "data: 23 x 3"),
        ("rows", "data: 20 x 3"),
        ("latent", "model.weight"),
        ("clip_norm", "clip_norm: 1.0 in the first"),
        ("epochs", "epochs, patience, row_lr: (1, None, None) in the first"),
        ("batch", "batch size: 4 in the first"),
        ("seed", "seed: 0 in the first"),
        ("validation", "validation data: None in the first"),
    ],
)
def test_processes_with_other_data_or_options_are_refused(said, name, what):
    for rank in (0, 1):
        sentence = (said / f"{name}-{rank}").read_text()
        assert "must have the same data and options" in sentence
        assert what in sentence


def test_a_program_that_fails_in_one_process_fails_in_all(said):
    assert "another process could not score" in (said / "scored-0").read_text()
    assert "too large for me" in (said / "scored-1").read_text()


def test_what_every_process_would_count_whole_is_refused(said):
    for rank in (0, 1):
        assert "the site 'mean' is the same for all rows" in (said / f"whole-{rank}").read_text()


def test_checkpoints_that_one_process_does_not_find_are_not_gone_on_with_by_the_others(said):
    for rank in (0, 1):
        assert "checkpoints that are found: ['step-" in (said / f"disk-{rank}").read_text()


@pytest.mark.parametrize(
    ("straight", "resumed"), [("straight", "resumed"), ("amortized", "amortized_resumed")]
)
def test_a_fit_taken_up_by_as_many_processes_has_the_same_bits(folder, straight, resumed):
    for (found, _), (expected, _) in zip(kept(folder, resumed), kept(folder, straight)):
        same(found, expected, 0.0)


def test_parameters_of_all_processes_are_counted_once(folder):
    expected, history = worker.table_fit(epochs=1)
    for _, metadata in kept(folder, "straight"):
        assert metadata["parameters"] == history.parameters


@pytest.mark.parametrize("newest", [True, False], ids=["between passes", "within a pass"])
def test_one_process_goes_on_with_what_two_wrote(folder, tmp_path, newest):
    here = shutil.copytree(folder / "table", tmp_path / "table")
    manifests = sorted(here.glob("step-*.json"))
    assert len(manifests) == 2
    assert len(list(here.glob("rows-step-*.safetensors"))) == 4
    if not newest:
        manifests[-1].unlink()
    _, history = worker.table_fit(epochs=6, run_dir=here, resume=True)
    assert history.step.tolist() == [5, 10, 15, 20, 25, 30]
    assert torch.isfinite(torch.as_tensor(history.train_bound)).all()
    # And again by one: the files are now whole, and the legs of the pass are over.
    _, history = worker.table_fit(epochs=7, run_dir=here, resume=True)
    assert history.step.tolist()[-1] == 35


def test_a_checkpoint_without_the_rows_of_a_process_is_not_used(folder, tmp_path):
    here = shutil.copytree(folder / "table", tmp_path / "table")
    newest = sorted(here.glob("rows-step-*-00001-of-00002.safetensors"))[-1]
    newest.unlink()
    _, history = worker.table_fit(epochs=5, run_dir=here, resume=True)  # from the one before it
    assert history.step.tolist() == [5, 10, 15, 20, 25]
    here = shutil.copytree(folder / "table", tmp_path / "damaged")
    for rows in here.glob("rows-*-00000-of-*.safetensors"):
        rows.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="no checkpoint in .* can be used"):
        worker.table_fit(epochs=6, run_dir=here, resume=True)


def test_a_process_that_dies_ends_the_others_with_a_sentence(tmp_path, run):
    statuses, _ = run("dying", tmp_path)
    assert statuses[0] == -9
    said = (tmp_path / "said").read_text()
    assert said.startswith("another of the 2 processes of this fit is gone: start the same command")
    found = worker.amortized_fit(run_dir=tmp_path / "dying", resume=True)
    assert all(bool(tensor.isfinite().all()) for tensor in found.values())


def test_no_thread_of_the_group_is_left_when_python_ends(tmp_path, run):
    statuses, said = run("leaving", tmp_path)
    assert statuses == [0, 0], said
    for rank in (0, 1):
        assert "gloo" not in (tmp_path / f"threads-{rank}").read_text()
