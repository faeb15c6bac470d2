import pytest
import torch

from pyrovae.sources.forms import Form, grey_form
from pyrovae.sources.seeds import generator_from

GREY = torch.arange(17, dtype=torch.uint8).repeat(4000, 1)


def within_five_standard_errors(draws, expected, variance):
    error = (draws.mean(0) - expected).abs()
    return bool((error <= 5 * (variance / len(draws)).sqrt() + 1e-12).all())


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


def test_grey_is_binarised_dynamically_unless_told():
    assert grey_form("binary", None, 17).binarisation == "dynamic"
    assert grey_form("binary", "static", None).binarisation == "static"
    assert Form("binary", levels=2).binarisation is None


@pytest.mark.parametrize("binarisation", ["dynamic", "static", "threshold"])
def test_shares_without_levels_are_binarised_as_they_are(binarisation):
    form = Form("binary", binarisation=binarisation)
    grey = torch.tensor([[0.0, 0.5, 1.0]]).repeat(2000, 1)
    x = form.visit(form.store(grey, generator_from(0)), generator_from(1))
    assert x[:, 0].max() == 0
    assert x[:, 2].min() == 1
    expected = 1.0 if binarisation == "threshold" else 0.5
    assert abs(x[:, 1].mean() - expected) <= 5 * 0.5 / 2000**0.5


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
        ({"name": "dequantized"}, TypeError, "levels"),
        ({"name": "binary", "levels": 17}, TypeError, "binarisation is for grey values"),
        (
            {"name": "binary", "levels": 2, "binarisation": "static"},
            TypeError,
            "binarisation is for grey values",
        ),
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
