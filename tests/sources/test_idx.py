import gzip
import struct

import numpy as np
import pytest
import torch

from pyrovae.data import KMNIST, MNIST, FashionMNIST
from pyrovae.sources.download import RemoteFile, digest
from pyrovae.sources.idx import NAMES, IdxDataSet, read_idx, read_labels

FOLDERS = {MNIST: "mnist", FashionMNIST: "fashion-mnist", KMNIST: "kmnist"}
RANDOM = np.random.default_rng(0)


def idx(array):
    array = np.asarray(array, np.uint8)
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


IMAGES = {name: RANDOM.integers(0, 256, (n, 28, 28)) for name, n in zip(NAMES[::2], (50, 20))}
LABELS = {name: RANDOM.integers(0, 10, n) for name, n in zip(NAMES[1::2], (50, 20))}


def write(folder, changes=()):
    """Write small files; returns their checksums."""
    folder.mkdir(parents=True)
    arrays = {**IMAGES, **LABELS, **dict(changes)}
    for name, array in arrays.items():
        (folder / name).write_bytes(gzip.compress(idx(array)))
    return {name: digest("sha256", idx(array)) for name, array in arrays.items()}


@pytest.fixture
def own(monkeypatch, tmp_path):
    monkeypatch.setenv("PYROVAE_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("cls", [FashionMNIST, KMNIST])
def test_images_and_labels_come_as_written(own, cls):
    checksums = write(own / FOLDERS[cls])
    data = cls("grey", validation=10, checksums=checksums)
    rows = torch.cat([data.train.stored, data.validation.stored]).reshape(-1, 28, 28)
    assert np.array_equal(rows, IMAGES[NAMES[0]])
    assert np.array_equal(data.test.stored.reshape(-1, 28, 28), IMAGES[NAMES[2]])
    assert np.array_equal(torch.cat([data.train.labels, data.validation.labels]), LABELS[NAMES[1]])
    assert np.array_equal(data.test.labels, LABELS[NAMES[3]])
    assert (len(data.train), data.shape, data.features) == (40, (28, 28), 784)
    files = data.describe()["files"]
    assert files[NAMES[0]] == digest("sha256", idx(IMAGES[NAMES[0]]))


@pytest.mark.parametrize(
    ("cls", "checksum"),
    [
        (MNIST, "sha256:ba891046e650"),
        (FashionMNIST, "md5:f4a8712d7a06"),
        (KMNIST, "md5:92be26ec9822"),
    ],
)
def test_other_content_is_refused(own, cls, checksum):
    write(own / FOLDERS[cls])
    with pytest.raises(ValueError, match=f"instead of {checksum}"):
        cls()


def test_checksums_of_ones_own_are_checked(own):
    right = write(own / "kmnist")
    assert len(KMNIST(validation=1, checksums=right).train) == 49
    with pytest.raises(ValueError, match="instead of md5:0"):
        KMNIST(validation=1, checksums=right | {NAMES[1]: "md5:00"})
    with pytest.raises(ValueError, match="no file 'train'; known are train-images"):
        KMNIST(checksums={"train": "md5:00"})


def test_a_checksum_of_ones_own_stands_for_the_published_one_as_served(own):
    checksums = write(own / "kmnist")
    served = digest("md5", (own / "kmnist" / NAMES[0]).read_bytes())
    files = {
        name: RemoteFile(name, "kmnist", ("http://127.0.0.1:1/",), checksum, served)
        for name, checksum in checksums.items()
    }
    options = {"form": "grey", "binarisation": None, "validation": 1, "split_seed": 0}
    assert len(IdxDataSet("some", files, **options).train) == 49
    with pytest.raises(ValueError, match="instead of md5:0"):
        IdxDataSet("some", files, checksums={NAMES[0]: "md5:00"}, **options)


def test_images_and_labels_of_different_number_are_refused(own):
    checksums = write(own / "kmnist", {NAMES[1]: LABELS[NAMES[3]]})
    with pytest.raises(ValueError, match="50 images in train-images.*20 labels in train-labels"):
        KMNIST(validation=1, checksums=checksums)


@pytest.mark.parametrize("validation", [0, 50, -3])
def test_rows_are_left_to_train_and_to_validate_on(own, validation):
    checksums = write(own / "kmnist")
    with pytest.raises(ValueError, match="1 to 49"):
        KMNIST(validation=validation, checksums=checksums)


@pytest.mark.parametrize("binarisation", ["dynamic", "static", "threshold"])
def test_binarisation_is_recorded(own, binarisation):
    checksums = write(own / "fashion-mnist")
    data = FashionMNIST("binary", binarisation=binarisation, validation=1, checksums=checksums)
    assert data.describe()["binarisation"] == binarisation
    assert data.fixed("test").unique().tolist() == [0.0, 1.0]


def test_pictures_in_place_of_labels_are_refused():
    with pytest.raises(ValueError, match="with 1 dimensions"):
        read_labels(idx(IMAGES[NAMES[0]]))
    with pytest.raises(ValueError, match="labels go up to 10"):
        read_labels(idx([3, 10]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file"),
        (b"PNG....................", "not an idx file"),
        (idx(np.zeros((2, 27, 28))), r"its shape is \(2, 27, 28\)"),
        (idx(np.zeros((2, 28, 28)))[:-1], "1567 values where its header says 1568"),
        (idx(np.zeros((2, 28, 28))) + b"0", "1569 values where its header says 1568"),
    ],
)
def test_broken_idx_files_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        read_idx(content, (-1, 28, 28))
