import os
from pathlib import Path

import pytest

from pyrovae.storage.files import read_json, read_regular, write_atomically, write_json


class Stopped(BaseException):
    """The machine went down."""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_is_the_old_one_or_the_new_one(call, tmp_path, monkeypatch):
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def down(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(os if call == "fsync" else Path, call, down)
        with pytest.raises(Stopped):
            write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    write_atomically(target, b"new")
    assert target.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_link_in_place_of_a_file_is_replaced_and_not_written_through(tmp_path):
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "file").symlink_to(tmp_path / "precious")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert not (tmp_path / "file").is_symlink()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path.symlink_to("/etc/hostname"), "is a link"),
        (lambda path: path.symlink_to("/dev/zero"), "is a link"),
        (os.mkfifo, "not a regular file"),
        (os.mkdir, "not a regular file"),
        (lambda path: path.write_bytes(b"12345"), "at most 4 are read"),
    ],
)
def test_what_is_no_file_of_ours_is_refused_without_waiting(make, sentence, tmp_path):
    make(tmp_path / "file")
    with pytest.raises(ValueError, match=sentence):
        read_regular(tmp_path / "file", most=4)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 10_000, b'{"a": 1}x', b"\x80\x04N."],
)
def test_what_is_not_json_is_said(content, tmp_path):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ValueError, match="is not readable JSON"):
        read_json(tmp_path / "file.json")


def test_json_is_standard(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file.json", {"a": float("nan")})
    assert not (tmp_path / "file.json").exists()
