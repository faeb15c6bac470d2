import numpy as np
import pytest

from pyrovae.data import Array, Streamed
from pyrovae.sources import fingerprints
from pyrovae.sources.fingerprints import fingerprint

TABLE = np.arange(80.0).reshape(40, 2)


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "a.npy", TABLE)
    return tmp_path / "a.npy"


def test_it_is_of_the_content_and_not_of_the_place(path, tmp_path):
    before = fingerprint(str(path))
    assert fingerprint(path.rename(tmp_path / "b.npy")) == before
    np.save(tmp_path / "b.npy", TABLE[::-1])
    assert fingerprint(tmp_path / "b.npy") != before


def test_a_folder_has_one_of_the_files_that_are_read_and_their_names(path, tmp_path):
    before = fingerprint(tmp_path)
    for name in ("notes.txt", "._a.npy"):
        (tmp_path / name).write_text("nothing that is read")
    assert fingerprint(tmp_path) == before
    path.rename(tmp_path / "z.npy")
    renamed = fingerprint(tmp_path)
    np.save(tmp_path / "b.npy", TABLE)
    assert len({before, renamed, fingerprint(tmp_path)}) == 3


@pytest.mark.parametrize("size", [1, 99, 1000, 1001])
def test_of_much_the_first_and_the_last_pieces_count(size, tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "MOST_READ", 100)
    monkeypatch.setattr(fingerprints, "PIECE", 10)
    found = set()
    for change in (None, 0, size - 1):
        content = bytearray(size)
        if change is not None:
            content[change] = 1 + change % 255
        (tmp_path / "a.bin").write_bytes(content)
        found.add(fingerprint(tmp_path / "a.bin"))
    (tmp_path / "a.bin").write_bytes(bytes(size + 1))
    found.add(fingerprint(tmp_path / "a.bin"))
    assert len(found) == (4 if size > 1 else 3)


@pytest.mark.parametrize(
    ("kind", "options"), [(Array, {}), (Streamed, {"validation": 4, "test": 4})]
)
def test_data_are_recorded_and_held_against_what_they_were(kind, options, path):
    first = kind(str(path), **options).describe()["fingerprint"]
    assert kind(path, **options, fingerprint=first).describe()["fingerprint"] == first
    np.save(path, TABLE + 1)
    with pytest.raises(ValueError, match=rf"a\.npy holds other data than it did: .* was {first}"):
        kind(path, **options, fingerprint=first)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="there is no file"):
        kind(path, **options, fingerprint=first)


def test_data_in_memory_take_none():
    assert "fingerprint" not in Array(TABLE).describe()
    with pytest.raises(TypeError, match="fingerprint is for files"):
        Array(TABLE, fingerprint="e3b0c44298fc")
