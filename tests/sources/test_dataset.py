import math

import pytest
import torch

from pyrovae.sources.dataset import DataSet, Rows
from pyrovae.sources.forms import Form

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
        "missing": False,
        "rows": {"train": 20, "validation": 20, "test": 20},
        "split_seed": 5,
        "file": "none",
    }
    assert math.prod(data.shape) == data.features


def made_of(values, form, **options):
    rows = Rows(torch.as_tensor(values))
    return DataSet("some", (2,), rows, rows, rows, form, split_seed=0, **options)


@pytest.mark.parametrize(
    ("values", "form", "message"),
    [
        (torch.zeros(0, 2), Form("real"), "there are no train rows of some"),
        (torch.zeros(3), Form("real"), r"must have shape \(n, 2\), got \(3,\)"),
        (torch.zeros(3, 4), Form("real"), r"must have shape \(n, 2\), got \(3, 4\)"),
        ([[1.0, math.inf]], Form("real"), "infinite values"),
        ([[1.0, math.nan]], Form("real"), "1 NaN; replace them, or say missing=True"),
        ([[-0.1, 0.5]], Form("grey"), "lie between -0.1 and 0.5"),
        ([[0.0, 255.0]], Form("binary", binarisation="dynamic"), "needs values from 0 to 1"),
        ([[0.0, 0.5]], Form("binary", levels=2), "whole numbers from 0 to 1"),
        ([[0, 17]], Form("dequantized", levels=17), "needs values from 0 to 16"),
    ],
)
def test_what_is_no_data_of_its_form_is_refused(values, form, message):
    with pytest.raises(ValueError, match=message):
        made_of(values, form)


def test_labels_belong_to_rows():
    rows = Rows(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(ValueError, match="2 labels for 3"):
        DataSet("some", (2,), rows, rows, rows, Form("real"), split_seed=0)


@pytest.mark.parametrize(
    "form",
    [
        Form("real"),
        Form("grey"),
        Form("dequantized", levels=2),
        Form("binary", levels=2),
        Form("binary", binarisation="dynamic"),
    ],
)
def test_what_is_missing_stays_missing(form):
    data = made_of([[1.0, math.nan], [math.nan, 0.0]], form, missing=True)
    assert data.fixed("test").isnan().tolist() == [[False, True], [True, False]]
