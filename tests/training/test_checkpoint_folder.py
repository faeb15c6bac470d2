import errno
import itertools
import os
from pathlib import Path

import pytest
import torch

from pyrovae import checkpoint
from pyrovae.storage.folder_lock import FolderInUseError
from pyrovae.training.checkpoint_folder import CheckpointFolder


class Stopped(BaseException):
    """The machine went down."""


def write(folder, step, best=None):
    tensors = {"x": torch.full((3,), float(step))}
    folder.write(step, tensors, {"step": step}, None if best is None else (best, tensors))


@pytest.fixture
def begun(tmp_path):
    with CheckpointFolder(tmp_path / "fit") as folder:
        write(folder, 1, best=1)
        write(folder, 2, best=1)
        yield folder


def test_the_newest_is_found_and_older_ones_go(begun):
    write(begun, 10, best=3)
    assert [m.stem for m in begun.manifests()] == ["step-000000000010-000", "step-000000000002-000"]
    assert [m.stem for m in begun.manifests("best")] == ["best-000003-000"]
    assert begun.newest()[1] == {"step": 10}


def test_the_same_step_again_gets_a_name_of_its_own(begun):
    write(begun, 2)
    assert [m.stem for m in begun.manifests()] == ["step-000000000002-001", "step-000000000002-000"]


def test_it_is_time_by_steps_or_by_the_clock(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with CheckpointFolder(tmp_path / "fit", steps=5, seconds=60.0) as folder:
        assert not folder.due(4)
        assert folder.due(5)
        write(folder, 5)
        assert not folder.due(9)
        now[0] = 61.0
        assert folder.due(6)
        folder.goes_on_from(6)
        write(folder, 6)
        assert not folder.due(10)


def test_nobody_else_writes_meanwhile(begun):
    with pytest.raises(FolderInUseError, match="is being written by process"):
        CheckpointFolder(begun.path).__enter__()


@pytest.mark.parametrize("stage", range(30))
def test_a_whole_checkpoint_remains_wherever_writing_stops(begun, stage, monkeypatch):
    """Before or after each call that changes the disk; `Stopped` is no Exception that anyone handles."""
    calls = itertools.count()

    def stopping(function):
        def call(*args, **kwargs):
            if next(calls) == stage:
                raise Stopped
            result = function(*args, **kwargs)
            if next(calls) == stage:
                raise Stopped
            return result

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", stopping(os.fsync))
        patch.setattr(Path, "replace", stopping(Path.replace))
        patch.setattr(Path, "unlink", stopping(Path.unlink))
        patch.setattr(Path, "open", stopping(Path.open))
        try:
            write(begun, 3, best=2)
            stopped = False
        except Stopped:
            stopped = True
    tensors, metadata = begun.newest()
    assert metadata["step"] in (2, 3)
    assert tensors["x"].tolist() == [float(metadata["step"])] * 3
    older = begun.manifests()[1].with_suffix(".safetensors") if stopped else None
    assert older is None or checkpoint.load(older)[1]["step"] in (1, 2)
    write(begun, 4, best=3)
    assert begun.newest()[1] == {"step": 4}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.EIO])
def test_a_disk_that_refuses_is_one_sentence_and_leaves_the_one_before(begun, number, monkeypatch):
    def full(_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="step 3 could not be written") as caught:
            write(begun, 3)
    assert caught.value.errno == number
    assert "step-000000000002-000 is intact" in str(caught.value)
    assert begun.newest()[1] == {"step": 2}
    assert sorted(p.suffix for p in begun.path.glob("step-*")) == [".json", ".json"] + 2 * [
        ".safetensors"
    ]
    assert not list(begun.path.glob(".*.tmp"))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="for checkpoints cannot be made"):
        CheckpointFolder(tmp_path / "file" / "fit").__enter__()


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    folder = tmp_path / "fit"
    folder.mkdir()
    (folder / ".step-000000000001-000.safetensors.abcd.tmp").write_bytes(b"half")
    (folder / "mine.txt").write_text("mine")
    with CheckpointFolder(folder) as found:
        assert found.newest() is None
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "mine.txt"]


def test_if_all_are_damaged_that_is_said(begun):
    for manifest in begun.manifests():
        manifest.write_text("{}")
    with pytest.raises(ValueError, match="no checkpoint in .* can be used"):
        begun.newest()


def test_clearing_leaves_other_files(begun):
    (begun.path / "mine.txt").write_text("mine")
    begun.clear()
    assert sorted(p.name for p in begun.path.iterdir()) == [".lock", "mine.txt"]
