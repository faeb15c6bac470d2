import math

import pytest
import torch

from pyrovae.dataset import DataSet, Form, Rows, generator_from

GREY = torch.arange(17, dtype=torch.uint8).repeat(4000, 1)


def within_five_standard_errors(draws, expected, variance):
    error = (draws.mean(0) - expected).abs()
    return bool((error <= 5 * (variance / len(draws)).sqrt() + 1e-12).all())


def test_streams_differ_by_every_number_and_by_how_many_there_are():
    seeds = [(0,), (0, 0), (0, 0, 0), (1,), (0, 1), (1, 0), (2**40, 3)]
    firsts = {
        float(torch.rand((), generator=generator_from(*s), dtype=torch.float64)) for s in seeds
    }
    assert len(firsts) == len(seeds)


def test_generator_from_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    Form("dequantized", levels=17).visit(GREY, generator_from(3))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("seed", [0.5, "1", True, None])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(TypeError, match="whole number"):
        generator_from(seed)


def test_a_seed_is_not_negative():
    with pytest.raises(ValueError, match="negative"):
        generator_from(-1)


def test_dequantized_values_are_uniform_within_their_grey_level():
    x = Form("dequantized", levels=17).visit(GREY, generator_from(0)).double()
    offset = 17 * x - GREY
    assert x.min() >= 0
    assert x.max() <= 1
    assert offset.min() > -1e-5
    assert offset.max() < 1 + 1e-5
    level = torch.full((17,), 1 / 12)
    assert within_five_standard_errors(offset, torch.full((17,), 0.5), level)
    # The planted mistake: grey levels stretched over [0, 1] before the noise is added.
    stretched = (GREY / 16 + torch.rand(GREY.shape)) * 17 / 17 - GREY / 17
    assert not within_five_standard_errors(17 * stretched, torch.full((17,), 0.5), level)


@pytest.mark.parametrize("binarisation", ["dynamic", "static"])
def test_a_pixel_is_one_with_probability_its_grey(binarisation):
    form = Form("binary", levels=17, binarisation=binarisation)
    x = form.visit(form.store(GREY, generator_from(0)), generator_from(1))
    grey = torch.arange(17) / 16
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert within_five_standard_errors(x, grey, grey * (1 - grey))
    assert not within_five_standard_errors(x, torch.arange(17) / 17, grey * (1 - grey))


def test_only_dynamic_binarisation_and_dequantization_change_between_visits():
    changes = {}
    for name, binarisation in [
        ("binary", "dynamic"),
        ("binary", "static"),
        ("binary", "threshold"),
        ("dequantized", None),
        ("grey", None),
    ]:
        form = Form(name, levels=17, binarisation=binarisation)
        stored = form.store(GREY, generator_from(0))
        generator = generator_from(1)
        same = torch.equal(form.visit(stored, generator), form.visit(stored, generator))
        changes[name, binarisation] = not same
    assert [key for key, change in changes.items() if change] == [
        ("binary", "dynamic"),
        ("dequantized", None),
    ]


def test_threshold_is_at_one_half():
    form = Form("binary", levels=17, binarisation="threshold")
    x = form.visit(form.store(GREY[:1], generator_from(0)))
    assert x.tolist() == [[0.0] * 8 + [1.0] * 9]


def test_binary_is_dynamic_unless_told():
    assert Form("binary", levels=2).binarisation == "dynamic"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"name": "gray", "levels": 17}, ValueError, "known are dequantized, binary, grey, real"),
        (
            {"name": "binary", "levels": 17, "binarisation": "random"},
            ValueError,
            "known are dynamic",
        ),
        ({"name": "grey", "levels": 17, "binarisation": "dynamic"}, TypeError, "form='binary'"),
        ({"name": "real", "levels": 17}, TypeError, "levels"),
        ({"name": "grey"}, TypeError, "levels"),
    ],
)
def test_forms_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Form(**options)


def test_supports():
    assert Form("real").support == "real"
    assert Form("grey", levels=2).support == "unit"
    assert Form("dequantized", levels=2).support == "unit"
    assert Form("binary", levels=2).support == "binary"


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
