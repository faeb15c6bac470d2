"""Pictures out of a run's arrays: mosaics of images, the latent space, mixture components."""

from __future__ import annotations

import base64
import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pyrovae.report.entries import Entry
from pyrovae.report.svg import PALETTE, figure, style, to_svg

ACROSS = 5  # images in a row of a mosaic
MOST = 25  # images in a mosaic
SHARP = 48  # pixels that an image is enlarged to at least, so that browsers do not blur it
IMAGES = (
    "test_images",
    "samples",
    "sample_means",
    "reconstructions",
    "component_means",
    "component_examples",
)
MOST_POINTS = 1000  # of the latent space


class Mosaic(NamedTuple):
    """Images side by side as one PNG: its data address, its size in pixels, how many images."""

    source: str
    width: int
    height: int
    images: int


class Component(NamedTuple):
    """One mixture component and the cluster it found."""

    number: int
    weight: float  # share of the data that the model gives it
    mean: Mosaic
    examples: Mosaic | None
    digits: list[tuple[int, float]]  # digit and its share of the cluster, in order of the digits

    @property
    def most(self) -> str:
        """The digits that make up most of the cluster, in words."""
        big = sorted((d for d in self.digits if d[1] >= 0.1), key=lambda d: -d[1])
        return ", ".join(f"{digit} ({100 * share:.0f} %)" for digit, share in big) or "no members"


class Pictures(NamedTuple):
    """What one run shows; each None, empty or "" where the run did not write it."""

    samples: Mosaic | None
    sample_means: Mosaic | None
    reconstructions: Mosaic | None  # rows of originals, each above its reconstructions
    latent: str  # an SVG
    components: list[Component]

    @property
    def any(self) -> bool:
        """Whether there is anything to see."""
        return bool(self.samples or self.sample_means or self.reconstructions or self[3] or self[4])


def pictures(entry: Entry, name: str) -> Pictures:
    """The pictures of the entry's first run; `name` tells its figures from others on the page."""
    arrays = _between_0_and_1(entry.arrays)
    shape = _shape(entry)
    pairs = None
    if shape and {"test_images", "reconstructions"} <= arrays.keys():
        pairs = _pairs(arrays["test_images"], arrays["reconstructions"], shape)
    return Pictures(
        _mosaic(arrays.get("samples"), shape),
        _mosaic(arrays.get("sample_means"), shape),
        pairs,
        _latent(entry, name),
        _components(arrays, shape),
    )


def _between_0_and_1(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Images of other values, which data of the form `real` may have, in the scale of the test images."""
    seen = arrays.get("test_images", np.zeros(0))
    seen = seen[np.isfinite(seen)]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
    if low == high or (low >= 0 and high <= 1):
        return arrays
    return {k: (a - low) / (high - low) if k in IMAGES else a for k, a in arrays.items()}


def _shape(entry: Entry) -> tuple[int, int] | None:
    given = entry.arrays.get("image_shape")
    if given is None:
        given = (entry.records[0].get("data") or {}).get("shape")
    sides = [int(side) for side in np.ravel(given)] if given is not None else []
    return (sides[0], sides[1]) if len(sides) == 2 and min(sides) > 0 else None


def _fits(images: NDArray[Any] | None, shape: tuple[int, int] | None) -> bool:
    if images is None or shape is None or images.ndim != 2 or not len(images):
        return False
    return images.shape[1] == shape[0] * shape[1]


def _mosaic(
    images: NDArray[Any] | None,
    shape: tuple[int, int] | None,
    across: int = ACROSS,
    most: int = MOST,
) -> Mosaic | None:
    """Images in rows, one empty pixel between them; dark is 1, light is 0, NaN is left out."""
    if images is None or shape is None or not _fits(images, shape):
        return None
    images = images[np.isfinite(images).all(1)][:most]
    if not len(images):
        return None
    across = min(across, len(images))
    rows = -(-len(images) // across)
    high, wide = shape[0] + 1, shape[1] + 1
    canvas = np.zeros((rows * high - 1, across * wide - 1, 2), np.uint8)
    for i, image in enumerate(images):
        top, left = high * (i // across), wide * (i % across)
        tile = canvas[top : top + shape[0], left : left + shape[1]]
        tile[..., 0] = np.round(255 * (1 - image.reshape(shape).clip(0, 1)))
        tile[..., 1] = 255
    times = -(-SHARP // max(shape))
    canvas = canvas.repeat(times, 0).repeat(times, 1)
    return Mosaic(_png(canvas), canvas.shape[1], canvas.shape[0], len(images))


def _pairs(originals: NDArray[Any], made: NDArray[Any], shape: tuple[int, int]) -> Mosaic | None:
    """Rows of originals, each followed by the row of their reconstructions."""
    across = 8
    count = min(len(originals), len(made), 2 * across)
    count -= count % across if count > across else 0
    if not (_fits(originals, shape) and _fits(made, shape)):
        return None
    rows = [
        part[i : min(i + across, count)]
        for i in range(0, count, across)
        for part in (originals, made)
    ]
    whole = np.nan_to_num(np.concatenate(rows))
    return _mosaic(whole, shape, across=min(across, count), most=2 * count)


def _png(grey_and_alpha: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(grey_and_alpha).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _latent(entry: Entry, name: str) -> str:
    """Test rows where the guide puts them, each drawn as its digit in the digit's colour."""
    points = entry.arrays.get("latent_2d")
    if points is None or points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
        return ""
    labels = entry.arrays.get("latent_labels")
    kept = np.isfinite(points).all(1)
    points = points[kept][:MOST_POINTS]
    digits = labels[kept][:MOST_POINTS] if labels is not None and len(labels) == len(kept) else None
    with style():
        drawn = figure(400, 400)
        axes = drawn.add_subplot()
        if digits is None:
            axes.scatter(points[:, 0], points[:, 1], s=12, color=PALETTE["c0"], linewidth=0)
        for digit in [] if digits is None else np.unique(digits):
            at = points[digits == digit]
            colour = PALETTE[f"d{int(digit) % 10}"]
            axes.scatter(
                at[:, 0], at[:, 1], s=34, marker=f"${int(digit)}$", color=colour, linewidth=0
            )
        names = entry.arrays.get("latent_axes", ("first direction", "second direction"))
        axes.set_xlabel(str(names[0]))
        axes.set_ylabel(str(names[-1]))
        axes.grid(visible=False)
        axes.margins(0.05)
        alt = f"Latent positions of {len(points)} test rows under {entry.label}"
        return to_svg(drawn, alt + (", drawn as their digits" if digits is not None else ""), name)


def _components(arrays: dict[str, NDArray[Any]], shape: tuple[int, int] | None) -> list[Component]:
    means, weights = arrays.get("component_means"), arrays.get("component_weights")
    if means is None or weights is None or len(means) != len(weights) or not _fits(means, shape):
        return []
    examples, counts = arrays.get("component_examples"), arrays.get("component_labels")
    found = []
    for i in np.argsort(-np.nan_to_num(weights), kind="stable"):
        mean = _mosaic(means[i : i + 1], shape)
        members = None if examples is None else _mosaic(examples[i], shape, across=6)
        digits: list[tuple[int, float]] = []
        if counts is not None and counts[i].sum() > 0:
            shares = counts[i] / counts[i].sum()
            digits = [(digit, float(share)) for digit, share in enumerate(shares) if share > 0]
        if mean is not None:
            found.append(Component(int(i) + 1, float(weights[i]), mean, members, digits))
    return found
