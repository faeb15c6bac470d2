"""Figures say what they show: labels, units, legends, images where they belong."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib import pyplot as plt

from pyrovae.plots import curves, show_classes, show_density, show_images


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_images_stand_in_the_order_they_came():
    images = np.arange(6)[:, None] * np.ones((6, 4)) / 5
    canvas = show_images(images, columns=3).axes[0].images[0].get_array()
    assert canvas.shape == (7, 10)
    assert [canvas[1, 1], canvas[1, 4], canvas[4, 7]] == [0.0, 0.2, 1.0]
    figure = show_images(np.zeros((2, 3, 8)), (4, 2), names=["a", "b"], title="two")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert figure.axes[0].get_title() == "two"
    assert figure.axes[0].images[0].get_array().shape == (11, 10)


def test_lines_between_images_are_white_whatever_white_is():
    canvas = show_images(np.zeros((5, 4)), columns=3, limits=(0, 16)).axes[0].images[0].get_array()
    assert canvas[0].tolist() == [16] * 10
    assert canvas[4:, 7:].tolist() == [[16] * 3] * 3  # where a sixth image would stand


def test_missing_pixels_stand_out():
    image = np.full((1, 4), 0.5)
    image[0, 2] = np.nan
    canvas = show_images(image).axes[0].images[0].get_array()
    assert canvas.mask.sum() == 1


def test_curves_have_labels_bands_and_exact_values():
    axes = curves(
        {"a": ([1, 2], [3.0, 4.0], [0.1, 0.2]), "b": ([1, 2], [5.0, 6.0])},
        "time [s]",
        "bound [nats]",
        exact={"log p(x)": 7.0},
        log="xy",
    )
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time [s]", "bound [nats]")
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["a", "b", "log p(x)"]
    assert len(axes.collections) == 1
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(2.8)
    assert band.max() == pytest.approx(4.4)


def test_curves_of_single_points_are_seen_and_no_two_are_alike():
    lines = {f"{i}": ([1, 2], [i, i + 1]) for i in range(8)}
    drawn = curves(
        {**lines, "one": ([1], [2]), "apart": ([1, 2, 3], [2, np.nan, 3])}, "x", "y"
    ).lines
    assert [line.get_marker() for line in drawn] == [""] * 8 + [".", "."]
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn}) == 10


@pytest.mark.filterwarnings("error")
def test_a_density_far_from_one_is_seen_too():
    nats = np.array([[-1.0, -2.0], [-np.inf, np.nan]])
    for shift in (0.0, -2000.0, 2000.0):
        shown = show_density(nats + shift, (-1, 1, -1, 1)).images[0].get_array()
        assert np.allclose(shown.filled(-1), [[1, np.exp(-1)], [0, -1]])
    show_density(np.full((2, 2), -np.inf), (-1, 1, -1, 1))


@pytest.mark.parametrize(
    ("rows", "options", "sentence"),
    [
        (np.zeros((0, 4)), {}, r"shape \(n, D\) .* got \(0, 4\)"),
        (np.zeros(4), {}, r"got \(4,\)"),
        (np.zeros((2, 6)), {}, r"6 values are no image of 2 x 2: say shape="),
        (np.zeros((2, 6)), {"shape": (3, 3)}, "no image of 3 x 3"),
        (np.zeros((4, 4)), {"names": ["a"]}, "1 names for 2 rows"),
    ],
)
def test_what_is_no_grid_of_images_is_one_sentence(rows, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        show_images(rows, **options)


def test_densities_and_classes_name_their_axes():
    axes = show_density(np.zeros((4, 4)), (-1, 1, -1, 1), points=np.zeros((3, 2)))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x1", "x2")
    assert len(axes.lines[0].get_xdata()) == 3
    axes = show_classes(np.zeros((3, 2)), [0, 1, 1], "z1", "z2", title="codes")
    assert (axes.get_xlabel(), axes.get_title()) == ("z1", "codes")
    assert len(axes.collections) == 2
