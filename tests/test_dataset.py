import math

import pytest
import torch

from pyrovae.dataset import DataSet, Rows
from pyrovae.forms import Form

GREY = torch.arange(17, dtype=torch.uint8).repeat(4000, 1)


@pytest.fixture
def data():
    rows = [Rows(GREY[n : n + 20], torch.zeros(20, dtype=torch.long)) for n in (0, 20, 40)]
    form = Form("dequantized", levels=17)
    return DataSet("grey", (17,), *rows, form=form, split_seed=5, origin={"file": "none"})


def test_fixed_rows_are_the_same_at_every_call_and_differ_between_parts(data):
    assert torch.equal(data.fixed("test"), data.fixed("test"))
    assert not torch.equal(data.fixed("test"), data.fixed("validation"))
    assert not torch.equal(data.visit(data.test.stored), data.fixed("test"))


def test_fixed_rows_do_not_depend_on_the_default_type(data):
    single = data.fixed("test")
    torch.set_default_dtype(torch.float64)
    try:
        double = data.fixed("test")
    finally:
        torch.set_default_dtype(torch.float32)
    assert double.dtype == torch.float64
    assert torch.allclose(single.double(), double, atol=1e-6)


def test_an_unknown_part_is_refused(data):
    for method in (data.part, data.fixed):
        with pytest.raises(ValueError, match="train, validation, test"):
            method("valid")


def test_describe_says_everything_that_fixes_the_numbers(data):
    assert data.describe() == {
        "name": "grey",
        "form": "dequantized",
        "binarisation": "none",
        "levels": 17,
        "shape": [17],
        "features": 17,
        "rows": {"train": 20, "validation": 20, "test": 20},
        "split_seed": 5,
        "file": "none",
    }
    assert math.prod(data.shape) == data.features
