"""Caltech-101 silhouettes, OMNIGLOT and Frey faces, on small files of the same format."""

import io
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import torch

from pyrovae.data import (
    OMNIGLOT,
    Caltech101Silhouettes,
    FreyFaces,
    caltech101_silhouettes,
    frey_faces,
)
from pyrovae.sources.download import digest

RANDOM = np.random.default_rng(0)


@pytest.fixture
def own(monkeypatch, tmp_path):
    monkeypatch.setenv("PYROVAE_DATA", str(tmp_path))
    return tmp_path


def mat(arrays):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays)
    return buffer.getvalue()


def silhouettes():
    arrays = {}
    for part, n in (("train", 6), ("val", 4), ("test", 3)):
        arrays[f"{part}_data"] = RANDOM.integers(0, 2, (n, 784)).astype(np.uint8)
        arrays[f"{part}_labels"] = RANDOM.integers(1, 102, (n, 1)).astype(np.uint8)
    return arrays


def put_silhouettes(monkeypatch, own, arrays):
    content = mat(arrays)
    (own / "caltech101_silhouettes_28_split1.mat").write_bytes(content)
    file = replace(caltech101_silhouettes._FILE, checksum=digest("sha256", content))
    monkeypatch.setattr(caltech101_silhouettes, "_FILE", file)


@pytest.mark.parametrize("flip", [True, False])
def test_silhouettes_stand_upright_in_their_parts(monkeypatch, own, flip):
    arrays = silhouettes()
    put_silhouettes(monkeypatch, own, arrays)
    data = Caltech101Silhouettes(flip=flip)
    assert [len(data.part(p)) for p in ("train", "validation", "test")] == [6, 4, 3]
    image = arrays["val_data"][2].reshape((28, 28), order="F")
    seen = data.fixed("validation")[2].reshape(28, 28)
    assert np.array_equal(seen, 1 - image if flip else image)
    assert data.validation.labels.tolist() == (arrays["val_labels"][:, 0] - 1.0).tolist()
    described = data.describe()
    assert (described["form"], described["binarisation"], described["flip"]) == (
        "binary",
        "none",
        flip,
    )


def test_silhouettes_that_are_not_binary_are_refused(monkeypatch, own):
    arrays = silhouettes()
    arrays["test_data"][0, 0] = 2
    put_silhouettes(monkeypatch, own, arrays)
    with pytest.raises(ValueError, match="other than 0 and 1"):
        Caltech101Silhouettes()


def test_another_file_of_silhouettes_is_refused(own):
    (own / "caltech101_silhouettes_28_split1.mat").write_bytes(mat(silhouettes()))
    with pytest.raises(ValueError, match="instead of sha256:eb6735e8d84b1850"):
        Caltech101Silhouettes()


def characters():
    arrays = {}
    for images, alphabets, n in (("data", "target", 30), ("testdata", "testtarget", 8)):
        arrays[images] = RANDOM.random((784, n))
        arrays[alphabets] = np.eye(50)[:, RANDOM.integers(0, 50, n)]
    return arrays


def put_characters(own, arrays):
    content = mat(arrays)
    (own / "chardata.mat").write_bytes(content)
    return digest("sha256", content)


def test_characters_stand_upright_in_their_parts(own):
    arrays = characters()
    data = OMNIGLOT("grey", validation=5, checksum=put_characters(own, arrays))
    assert [len(data.part(p)) for p in ("train", "validation", "test")] == [25, 5, 8]
    image = arrays["testdata"][:, 3].reshape((28, 28), order="F").astype(np.float32)
    assert np.array_equal(data.fixed("test")[3].reshape(28, 28), image)
    assert data.test.labels.tolist() == arrays["testtarget"].argmax(0).tolist()
    ours = torch.cat([data.train.stored, data.validation.stored]).sort(0).values
    assert torch.allclose(ours.sum(), torch.tensor(arrays["data"].sum(), dtype=torch.float32))


def test_characters_are_binarised_dynamically_unless_told(own):
    checksum = put_characters(own, characters())
    data = OMNIGLOT(validation=5, checksum=checksum)
    assert data.describe()["binarisation"] == "dynamic"
    assert not torch.equal(data.visit(data.train.stored), data.visit(data.train.stored))
    assert OMNIGLOT(binarisation="static", validation=5, checksum=checksum).fixed("test").max() == 1
    with pytest.raises(TypeError, match="needs levels"):
        OMNIGLOT("dequantized", checksum=checksum)
    with pytest.raises(ValueError, match="1 to 29"):
        OMNIGLOT(validation=30, checksum=checksum)


def test_another_file_of_characters_is_refused(own):
    put_characters(own, characters())
    with pytest.raises(ValueError, match="instead of git:016a3536"):
        OMNIGLOT()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("data", np.full((784, 30), 1.5), "outside"), ("target", np.ones((50, 29)), "differ in")],
)
def test_characters_that_make_no_sense_are_refused(own, name, value, message):
    checksum = put_characters(own, characters() | {name: value})
    with pytest.raises(ValueError, match=message):
        OMNIGLOT(checksum=checksum)


FRAMES = RANDOM.integers(0, 256, (1965, 560)).astype(np.uint8)


def put_frames(own, name, frames=FRAMES):
    if name.endswith("npy"):
        np.save(own / name, frames)
    else:
        (own / name).write_bytes(mat({"ff": frames.T}))
    return digest("sha256", (own / name).read_bytes())


@pytest.fixture
def published(monkeypatch):
    monkeypatch.setattr(frey_faces, "_CHECKSUM", digest("sha256", FRAMES.tobytes()))


NAMES = pytest.mark.parametrize("name", ["frey_rawface.mat", "freyfaces.npy"])


@NAMES
def test_faces_are_those_published_and_the_file_is_recorded(own, published, name):
    found = put_frames(own, name)
    data = FreyFaces()
    assert (data.shape, data.form.name, data.form.levels) == ((28, 20), "dequantized", 256)
    parts = [data.part(p) for p in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [1565, 200, 200]
    ours = np.concatenate([part.stored for part in parts])
    assert sorted(map(bytes, ours)) == sorted(map(bytes, FRAMES))
    assert data.describe()["files"] == {name: found}


@NAMES
@pytest.mark.parametrize("change", ["inverted", "one byte"])
def test_other_faces_are_refused(own, published, name, change):
    frames = 255 - FRAMES
    if change == "one byte":
        frames = FRAMES.copy()
        frames[1964, 559] ^= 1
    checksum = put_frames(own, name, frames)
    with pytest.raises(ValueError, match="the checksum of its frames is sha256:"):
        FreyFaces()
    assert len(FreyFaces(checksum=checksum).train) == 1565


def test_faces_that_make_no_sense_are_refused(own):
    checksum = put_frames(own, "freyfaces.npy", FRAMES.astype(float))
    with pytest.raises(ValueError, match="of float64, expected"):
        FreyFaces(checksum=checksum)
    (own / "freyfaces.npy").write_bytes((own / "freyfaces.npy").read_bytes()[:5000])
    with pytest.raises(
        ValueError, match=r"freyfaces.npy is not the file it should be: no whole array"
    ):
        FreyFaces()


def test_faces_are_not_binary():
    with pytest.raises(ValueError, match="'dequantized' or 'grey'"):
        FreyFaces("binary")
