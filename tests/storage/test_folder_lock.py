import os
import subprocess
import sys

import pytest

from pyrovae.storage.folder_lock import FolderInUseError, FolderLock

HOLD = """
import sys
from pyrovae.storage.folder_lock import FolderLock
with FolderLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_in_this_process_is_refused_and_told_who_is_first(tmp_path):
    with (
        FolderLock(tmp_path),
        pytest.raises(FolderInUseError, match=f"being written by process {os.getpid()} on "),
        FolderLock(tmp_path),
    ):
        pass
    with FolderLock(tmp_path):
        pass


def test_the_lock_of_a_process_that_was_killed_is_open(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(FolderInUseError, match=f"process {process.pid} on "), FolderLock(tmp_path):
        pass
    process.kill()
    process.wait()
    with FolderLock(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(tmp_path):
    with (
        pytest.raises(OSError, match="cannot be written .*name one that can be"),
        FolderLock(tmp_path / "nowhere"),
    ):
        pass


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    folder = tmp_path / "fit"
    folder.mkdir()
    (folder / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="cannot be written"), FolderLock(folder):
        pass
    assert (tmp_path / "precious").read_text() == "mine"
