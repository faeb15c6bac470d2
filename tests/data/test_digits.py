import pytest
import torch
from sklearn.datasets import load_digits

from pyrovae.data import Digits


def test_the_three_parts_are_all_the_images_once():
    data = Digits("grey")
    parts = [data.part(name) for name in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [1200, 200, 397]
    images, labels = load_digits(return_X_y=True)
    ours = [(int(y), *x.tolist()) for part in parts for x, y in zip(part.stored, part.labels)]
    assert sorted(ours) == sorted((int(y), *map(int, x)) for x, y in zip(images, labels))


def test_dequantized_digits_fall_back_on_their_grey_levels():
    data = Digits()
    assert data.form.name == "dequantized"
    assert torch.equal((data.fixed("test") * 17).floor(), data.test.stored.float())


def test_the_split_seed_fixes_everything():
    assert torch.equal(Digits(split_seed=1).fixed("test"), Digits(split_seed=1).fixed("test"))
    assert not torch.equal(Digits(split_seed=1).train.stored, Digits(split_seed=2).train.stored)


@pytest.mark.parametrize("binarisation", ["dynamic", "static", "threshold", None])
def test_binary_digits_are_zeros_and_ones(binarisation):
    data = Digits("binary", binarisation=binarisation)
    assert data.fixed("validation").unique().tolist() == [0.0, 1.0]
    assert data.describe()["binarisation"] == (binarisation or "dynamic")


def test_forms_share_their_rows():
    assert torch.equal(Digits("grey").train.labels, Digits("binary").train.labels)


def test_what_does_not_apply_is_refused():
    with pytest.raises(TypeError, match="form='binary'"):
        Digits(binarisation="static")
    with pytest.raises(ValueError, match="'dequantized', 'binary' or 'grey'"):
        Digits("real")
    with pytest.raises(TypeError, match="whole number"):
        Digits(split_seed=0.5)
