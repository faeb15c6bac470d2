import os

import numpy as np
import pytest

from pyrovae.sources.row_files import open_rows

ROWS = np.arange(60, dtype=np.float32).reshape(20, 3)


@pytest.fixture
def npy(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    return tmp_path / "rows.npy"


def test_what_is_read_is_what_was_written(npy):
    files = open_rows(npy)
    assert (len(files), files.shape, files.dtype) == (20, (3,), np.float32)
    assert np.array_equal(files.read(7, 13), ROWS[7:13])


def test_a_folder_is_read_across_its_files(tmp_path):
    for name, part in zip("abc", np.split(ROWS, [5, 6]), strict=True):
        np.save(tmp_path / f"{name}.npy", part)
    (tmp_path / "notes.txt").write_text("not rows")
    (tmp_path / "._a.npy").write_bytes(b"what macOS puts beside a file")
    files = open_rows(tmp_path)
    assert len(files) == 20
    assert np.array_equal(files.read(3, 15), ROWS[3:15])
    assert np.array_equal(files.read(6, 7), ROWS[6:7])


def test_an_ending_may_be_in_capitals(npy):
    npy.rename(npy.with_suffix(".NPY"))
    for place in (npy.with_suffix(".NPY"), npy.parent):
        assert np.array_equal(open_rows(place).read(0, 20), ROWS)


def test_a_file_without_a_header(tmp_path):
    ROWS.astype(">f4").tofile(tmp_path / "rows.bin")
    files = open_rows(tmp_path / "rows.bin", shape=[3], dtype=">f4")
    assert np.array_equal(files.read(0, 20), ROWS)


def test_memory_mapped_arrays(npy, tmp_path):
    assert np.array_equal(open_rows(np.load(npy, mmap_mode="r")).read(2, 9), ROWS[2:9])
    ROWS.tofile(tmp_path / "rows.bin")
    mapped = np.memmap(tmp_path / "rows.bin", np.float32, "r", offset=12, shape=(19, 3))
    assert np.array_equal(open_rows(mapped).read(0, 19), ROWS[1:])
    with pytest.raises(ValueError, match="give the whole of it"):
        open_rows(np.load(npy, mmap_mode="r")[3:])


def test_images_keep_the_shape_of_a_row(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((4, 2, 3), np.uint8))
    files = open_rows(tmp_path / "images.npy")
    assert (files.shape, files.read(0, 4).shape) == ((2, 3), (4, 6))


def broken(folder, kind):
    path = folder / "rows.npy"
    if kind == "short":
        np.save(path, ROWS)
        path.write_bytes(path.read_bytes()[:-1])
    elif kind == "garbage":
        path.write_bytes(b"not an array at all")
    elif kind == "empty file":
        path.write_bytes(b"")
    elif kind == "columns":
        np.save(path, np.asfortranarray(ROWS))
    elif kind == "text":
        np.save(path, np.array([["a", "b"]]))
    elif kind == "objects":
        np.save(path, np.array([[None, 1]], dtype=object), allow_pickle=True)
    elif kind == "one dimension":
        np.save(path, np.zeros(9))
    elif kind == "no rows":
        np.save(path, np.zeros((0, 3)))
    elif kind == "widths":
        np.save(path, ROWS)
        np.save(folder / "second.npy", ROWS[:, :2])
        return folder
    elif kind == "kinds":
        np.save(path, ROWS)
        np.save(folder / "second.npy", ROWS.astype(np.float64))
        return folder
    elif kind == "empty folder":
        return folder
    elif kind == "raw":
        path = folder / "rows.bin"
        path.write_bytes(bytes(7))
    return path


@pytest.mark.parametrize(
    ("kind", "options", "error", "sentence"),
    [
        ("short", {}, ValueError, "is cut short: 20 rows .* take 368 bytes, it has 367"),
        ("garbage", {}, ValueError, "no .npy file of numbers"),
        ("empty file", {}, ValueError, "no .npy file of numbers"),
        ("columns", {}, ValueError, "Fortran order.*ascontiguousarray"),
        ("text", {}, TypeError, "where numbers were expected"),
        ("objects", {}, TypeError, "where numbers were expected"),
        ("one dimension", {}, ValueError, r"expected rows and columns"),
        ("no rows", {}, ValueError, "has no rows"),
        ("widths", {}, ValueError, "all files of a folder must be alike"),
        ("kinds", {}, ValueError, "all files of a folder must be alike"),
        ("empty folder", {}, ValueError, "holds no .npy files"),
        ("raw", {}, TypeError, "say what a row is: shape=.* dtype="),
        ("raw", {"shape": [2], "dtype": "float32"}, ValueError, "no whole number of rows"),
        ("raw", {"shape": 3, "dtype": "float32"}, ValueError, "shape must be whole numbers"),
        ("raw", {"shape": "ab", "dtype": "float32"}, ValueError, "shape must be whole numbers"),
        ("raw", {"shape": [2], "dtype": "floaty"}, TypeError, "such as float32"),
        ("short", {"dtype": "float32"}, TypeError, "says it itself"),
    ],
)
def test_what_is_no_rows_is_one_sentence(tmp_path, kind, options, error, sentence):
    with pytest.raises(error, match=sentence):
        open_rows(broken(tmp_path, kind), **options)


def test_nothing_there():
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        open_rows("nowhere/rows.npy")


@pytest.mark.parametrize("new", [ROWS[:-1], ROWS + 1, ROWS.astype(np.float64)])
def test_a_file_that_is_written_to_while_it_is_read(npy, new):
    files = open_rows(npy)
    files.read(0, 10)
    np.save(npy, new)
    later = npy.stat().st_mtime_ns + 10**9
    os.utime(npy, ns=(later, later))
    with pytest.raises(OSError, match="was written to since it was opened"):
        files.read(10, 19)


def test_what_is_in_memory_is_not_streamed(npy):
    with pytest.raises(TypeError, match="got ndarray: for what is in memory"):
        open_rows(ROWS)
    changed = np.load(npy, mmap_mode="c")
    changed[:] = 7.0
    with pytest.raises(ValueError, match="is not in its file"):
        open_rows(changed)
