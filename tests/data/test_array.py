import math

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pyrovae.data import Array

TABLE = np.arange(40.0).reshape(20, 2)


def everything(data):
    return np.concatenate([data.part(p).stored for p in ("train", "validation", "test")])


def same_rows(data, expected):
    ours = sorted(map(tuple, everything(data).tolist()))
    return ours == sorted(map(tuple, np.asarray(expected).tolist()))


class AnnData:
    """What is used of an AnnData: its matrix."""

    X = TABLE


AnnData.__module__ = "anndata._core.anndata"


@pytest.mark.parametrize(
    "source",
    [TABLE, TABLE.tolist(), torch.tensor(TABLE), pd.DataFrame(TABLE), AnnData()],
    ids=["array", "list", "tensor", "DataFrame", "AnnData"],
)
def test_tables_in_memory(source):
    data = Array(source)
    assert same_rows(data, TABLE)
    assert data.fixed("test").dtype == torch.float32
    assert data.describe()["form"] == "real"


def test_tensors_that_numpy_does_not_have():
    halves = torch.tensor(TABLE).bfloat16()
    assert same_rows(Array(halves), halves.float())
    assert same_rows(Array(torch.tensor(TABLE).to_sparse()), TABLE)


def test_files(tmp_path):
    np.save(tmp_path / "a.npy", TABLE)
    pd.DataFrame(TABLE, columns=["a", "b"]).to_csv(tmp_path / "with.csv", index=False)
    np.savetxt(tmp_path / "without.csv", TABLE, delimiter=",")
    for name in ("a.npy", "with.csv", "without.csv"):
        data = Array(str(tmp_path / name))
        assert same_rows(data, TABLE), name
        assert data.describe()["source"].endswith(name)


def test_a_folder_of_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 6, 4)).astype(np.uint8)
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._0.png").write_bytes(b"what macOS puts beside a file")
    data = Array(tmp_path, "dequantized", levels=256)
    assert data.shape == (6, 4)
    assert data.train.stored.dtype == torch.uint8
    assert same_rows(data, images.reshape(10, -1))
    (tmp_path / "10.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"10.png is no whole image"):
        Array(tmp_path)
    Image.fromarray(images[0][:5]).save(tmp_path / "10.png")
    with pytest.raises(ValueError, match=r"bring all images to one size"):
        Array(tmp_path)


def test_binary_values_need_no_binarisation():
    data = Array(np.eye(10) > 0, "binary")
    assert data.describe()["binarisation"] == "none"
    assert data.fixed("train").unique().tolist() == [0.0, 1.0]


def test_labels_go_with_their_rows():
    data = Array(TABLE, labels=range(20))
    for part in (data.train, data.validation, data.test):
        assert torch.equal(part.stored[:, 0].long(), 2 * part.labels)
    assert Array(TABLE, labels=np.arange(20.0)).train.labels.dtype == torch.int64
    with pytest.raises(ValueError, match="for 20 rows"):
        Array(TABLE, labels=[1, 2])


def test_the_split_is_of_the_shares_given_and_by_its_seed():
    data = Array(TABLE, split=(0.5, 0.25, 0.25), split_seed=3)
    assert [len(data.part(p)) for p in ("train", "validation", "test")] == [10, 5, 5]
    assert torch.equal(
        data.test.stored, Array(TABLE, split=(0.5, 0.25, 0.25), split_seed=3).test.stored
    )
    assert not torch.equal(data.train.stored, Array(TABLE, split=(0.5, 0.25, 0.25)).train.stored)


@pytest.mark.parametrize("split", [(0.2, 0.4, 0.4), (0.1, 0.1, 0.8), (0.01, 0.01, 0.98)])
@pytest.mark.parametrize("rows", [3, 4, 5, 9])
def test_no_part_is_without_rows(split, rows):
    data = Array(TABLE[:rows], split=split)
    counts = [len(data.part(p)) for p in ("train", "validation", "test")]
    assert min(counts) >= 1
    assert sum(counts) == rows


@pytest.mark.parametrize("split", [(0.5, 0.5), (1, 0, 0), (0.5, 0.3, 0.3), (0.5, 0.6, -0.1)])
def test_shares_that_are_no_split_are_refused(split):
    with pytest.raises(ValueError, match="three positive shares"):
        Array(TABLE, split=split)


def test_missing_values_are_allowed_where_declared(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n" + "1,\nNA,2\n3,4\n\n" * 5)
    with pytest.raises(ValueError, match="10 NaN; replace them, or say missing=True"):
        Array(tmp_path / "a.csv")
    data = Array(tmp_path / "a.csv", missing=True)
    assert np.isnan(everything(data)).sum() == 10
    assert data.describe()["missing"] is True


def test_what_is_masked_is_missing():
    masked = np.ma.masked_equal(np.arange(20).reshape(10, 2), 7)
    with pytest.raises(ValueError, match="1 NaN; replace them, or say missing=True"):
        Array(masked)
    found = everything(Array(masked, missing=True))
    assert np.isnan(found).sum() == 1
    assert 7 not in found
    assert everything(Array(np.ma.masked_equal(masked.data, 99))).max() == 19


def test_whole_numbers_of_a_dataframe_may_be_missing():
    absent = pd.DataFrame({"a": pd.array([1, None] * 5, dtype="Int64"), "b": range(10)})
    with pytest.raises(ValueError, match="5 NaN; replace them, or say missing=True"):
        Array(absent)
    found = everything(Array(absent, missing=True))
    assert np.isnan(found[:, 0]).sum() == 5
    assert sorted(found[:, 1]) == list(range(10))


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (np.zeros((0, 3)), ValueError, "empty"),
        (np.zeros((3, 0)), ValueError, "empty"),
        (np.zeros(5), ValueError, "expected rows and columns"),
        ([[1.0, 2.0], [3.0]], ValueError, "do not make one table"),
        (np.full((5, 2), np.inf), ValueError, "infinite"),
        (np.full((5, 2), 1e300), ValueError, "beyond single precision"),
        (np.array([["a", "b"]] * 5), TypeError, "numbers were expected"),
        (pd.DataFrame({"a": ["x"] * 5, "b": 1.0}), TypeError, "not a number"),
        (np.ones((5, 2)) * 1j, TypeError, "complex"),
        (np.ones((2, 2)), ValueError, "at least 3 rows"),
        ({"a": 1}, TypeError, "got dict"),
        ("/no/such/file.csv", FileNotFoundError, "there is no file or folder"),
    ],
)
@pytest.mark.filterwarnings("error")  # one sentence, not a warning before it
def test_what_is_no_table_is_refused(source, error, message):
    with pytest.raises(error, match=message):
        Array(source)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.npy", b"", ValueError, "no whole array"),
        ("a.npy", b"\x93NUMPY\x01\x00", ValueError, "no whole array"),
        ("a.csv", b"1,2\n3\n", ValueError, "line 2 of .* has 1 fields, the first has 2"),
        ("a.csv", b"a,b\n", ValueError, "empty"),
        ("a.csv", b"", ValueError, "empty"),
        ("a.csv", b"a,b\n1,2\n2,y\n3,z\n", TypeError, "line 3 of .* not a number: .*'y'"),
        ("a.txt", b"1 2", TypeError, "not read here"),
    ],
)
def test_broken_files_are_refused(tmp_path, name, content, error, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        Array(tmp_path / name)


def test_arrays_that_need_pickles_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="no whole array of numbers"):
        Array(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"form": "grey"}, ValueError, "lie between 0 and 39"),
        ({"form": "dequantized"}, TypeError, "needs levels"),
        ({"levels": 256}, TypeError, "not for the form 'real'"),
        ({"binarisation": "static"}, TypeError, "form='binary'"),
        ({"shape": (3, 3)}, ValueError, "does not hold rows of 2"),
        ({"shape": (-1, -2)}, ValueError, r"whole numbers from 1, .* got \(-1, -2\)"),
        ({"shape": (0.5, 4)}, ValueError, "whole numbers from 1"),
        ({"shape": 2}, ValueError, r"whole numbers from 1, such as \(28, 28\), got 2"),
        ({"shape": (2, "x")}, ValueError, "whole numbers from 1"),
        ({"shape": (2, math.inf)}, ValueError, "whole numbers from 1"),
        ({"split": "abc"}, ValueError, "three positive shares .* got 'abc'"),
        ({"split": None}, ValueError, "three positive shares .* got None"),
        ({"labels": [0.5, 1.7] * 10}, ValueError, "whole numbers, got 0.5 for row 0"),
        ({"labels": [1.0, np.nan] * 10}, ValueError, "whole numbers, got nan for row 1"),
        ({"labels": [1.0, -np.inf] * 10}, ValueError, "whole numbers, got -inf for row 1"),
        ({"labels": ["cat", "dog"] * 10}, TypeError, "whole numbers, got <U3; number the classes"),
        ({"split_seed": "a"}, TypeError, "whole number"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Array(TABLE, **options)
