"""Figures that several notebooks share: images in a grid, curves, densities on a plane."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

# Told apart by the colour-blind as well: Okabe & Ito, Color universal design, 2008.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")  # of curves beyond as many as there are colours


def show_images(
    rows: ArrayLike | Sequence[ArrayLike],
    shape: Sequence[int] | None = None,
    *,
    names: Sequence[str] | None = None,
    columns: int | None = None,
    title: str = "",
    scale: float = 0.62,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Show images in a grid, white on black, what is missing in red.

    Args:
        rows: (n, D) images, or (rows, columns, D) in the order in which they are to be seen.
        shape: height and width of one; a square if None.
        names: what each row of the grid is.
        columns: of the grid, where ``rows`` is a plain list; about a square if None.
        title: above all.
        scale: inches of one image.
        limits: what black and white are.

    Returns:
        The figure.

    Raises:
        ValueError: no images, images of another shape, or other than one name for each row of the grid.

    Example:
        >>> figure = show_images(np.zeros((6, 64)), columns=3)
        >>> len(figure.axes)
        1
        >>> plt.close(figure)
    """
    images = np.asarray(rows, dtype=float)
    if not images.size or images.ndim not in (2, 3):
        raise ValueError(
            f"images must have the shape (n, D) or (rows, columns, D); got {images.shape}"
        )
    if images.ndim == 2:
        columns = math.ceil(math.sqrt(len(images))) if columns is None else columns
        blank = np.full((-len(images) % columns, images.shape[1]), limits[1])
        images = np.concatenate([images, blank]).reshape(-1, columns, images.shape[1])
    height, width = shape if shape is not None else (math.isqrt(images.shape[-1]),) * 2
    if height * width != images.shape[-1]:
        raise ValueError(
            f"{images.shape[-1]} values are no image of {height} x {width}: say shape=(height, width)"
        )
    if names and len(names) != len(images):
        raise ValueError(f"{len(names)} names for {len(images)} rows of images")
    canvas = _canvas(images, height, width, limits[1])
    figure, axes = plt.subplots(
        figsize=(scale * images.shape[1] + (1.4 if names else 0.1), scale * images.shape[0] + 0.35)
    )
    colours = plt.get_cmap("gray").with_extremes(bad="#a03030")
    axes.imshow(canvas, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    if names:
        axes.set_yticks([(i + 0.5) * (height + 1) for i in range(len(names))], list(names))
        axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title(title, fontsize=10)
    figure.tight_layout()
    return figure


def _canvas(images: NDArray[Any], height: int, width: int, white: float) -> NDArray[Any]:
    """One picture of all, with a white line between any two."""
    down, across = images.shape[:2]
    canvas = np.full((down * (height + 1) + 1, across * (width + 1) + 1), white)
    for i in range(down):
        for j in range(across):
            top, left = i * (height + 1) + 1, j * (width + 1) + 1
            canvas[top : top + height, left : left + width] = images[i, j].reshape(height, width)
    return canvas


def curves(
    lines: Mapping[str, tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike]],
    x: str,
    y: str,
    *,
    exact: Mapping[str, float] | None = None,
    axes: Axes | None = None,
    log: str = "",
    marker: str = "",
    title: str = "",
) -> Axes:
    """Draw named curves, with a band of two standard errors where these are given.

    Args:
        lines: name -> x, y, and perhaps the standard error of y.
        x: what the horizontal axis is, with its unit.
        y: what the vertical axis is, with its unit.
        exact: name -> a value that is known exactly, drawn as a dashed line.
        axes: where to draw; a new figure if None.
        log: ``"x"``, ``"y"`` or ``"xy"`` for logarithmic axes.
        marker: at each point, as matplotlib names them.
        title: above.

    Returns:
        The axes.

    Example:
        >>> axes = curves({"a": ([1, 2], [3, 4])}, "time [s]", "bound [nats]")
        >>> axes.get_xlabel()
        'time [s]'
        >>> plt.close(axes.figure)
    """
    names = len(lines) + len(exact or {})
    beside = axes is None and names > 3  # of so many, no place among the curves is sure to be free
    if axes is None:
        _, axes = plt.subplots(figsize=(7.0 if beside else 5.6, 3.4), layout="constrained")
    for i, (name, line) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        at, value = np.asarray(line[0], dtype=float), np.asarray(line[1], dtype=float)
        style = STYLES[i // len(COLOURS) % len(STYLES)]
        axes.plot(
            at, value, style, label=name, color=colour, marker=marker or _dots(value), markersize=4
        )
        if len(line) == 3:
            error = 2 * np.asarray(line[2], dtype=float)
            axes.fill_between(at, value - error, value + error, color=colour, alpha=0.2, lw=0)
    for style, (name, level) in zip(
        itertools.cycle(("--", ":", "-.")), (exact or {}).items(), strict=False
    ):
        axes.axhline(level, color="black", linestyle=style, linewidth=1, label=name)
    scales = {f"{axis}scale": "log" for axis in log}
    axes.set(xlabel=x, ylabel=y, title=title, **scales)
    axes.grid(alpha=0.25)
    if names > 1:
        legend = axes.legend(frameon=False, fontsize=9, loc="center left" if beside else "best")
        legend.set_bbox_to_anchor((1.0, 0.5) if beside else None)
    return axes


def _dots(values: NDArray[Any]) -> str:
    """The marker without which a curve would not be seen: a line takes two points beside each other."""
    seen = np.isfinite(values)
    return "" if values.ndim == 1 and (seen[1:] & seen[:-1]).any() else "."


def show_density(
    log_density: ArrayLike,
    extent: Sequence[float],
    *,
    axes: Axes | None = None,
    points: ArrayLike | None = None,
    title: str = "",
    names: tuple[str, str] = ("x1", "x2"),
) -> Axes:
    """Show a density on a plane, and points on it.

    Args:
        log_density: (rows, columns), from below to above and from left to right, in nats.
        extent: left, right, bottom, top.
        axes: where to draw; a new figure if None.
        points: (n, 2), drawn as dots.
        title: above.
        names: what the two axes are.

    Returns:
        The axes.

    Example:
        >>> axes = show_density(np.zeros((3, 3)), (-1, 1, -1, 1))
        >>> axes.get_xlabel()
        'x1'
        >>> plt.close(axes.figure)
    """
    if axes is None:
        _, axes = plt.subplots(figsize=(4.0, 3.8), layout="constrained")
    left, right, bottom, top = extent
    nats = np.asarray(log_density, dtype=float)
    # Relative to the largest, which is the brightest anyhow: far from 0 the exponential has no digits.
    density = np.exp(nats - np.max(nats[np.isfinite(nats)], initial=np.finfo(float).min))
    axes.imshow(
        density, origin="lower", extent=(left, right, bottom, top), cmap="viridis", aspect="auto"
    )
    if points is not None:
        dots = np.asarray(points, dtype=float)
        axes.plot(dots[:, 0], dots[:, 1], ".", color="white", markersize=1.5, alpha=0.6)
    axes.set(xlabel=names[0], ylabel=names[1], title=title)
    return axes


def show_classes(
    points: ArrayLike,
    labels: ArrayLike,
    x: str,
    y: str,
    *,
    axes: Axes | None = None,
    title: str = "",
) -> Axes:
    """Show points on a plane, each as the digit or number of its class.

    Args:
        points: (n, 2).
        labels: (n,), whole numbers.
        x: what the horizontal axis is.
        y: what the vertical axis is.
        axes: where to draw; a new figure if None.
        title: above.

    Returns:
        The axes.

    Example:
        >>> axes = show_classes(np.zeros((2, 2)), [3, 4], "z1", "z2")
        >>> plt.close(axes.figure)
    """
    if axes is None:
        _, axes = plt.subplots(figsize=(5.2, 4.6), layout="constrained")
    dots, classes = np.asarray(points, dtype=float), np.asarray(labels)
    colours = plt.get_cmap("tab10")
    for value in np.unique(classes):
        here = dots[classes == value]
        colour = colours(int(value) % 10)
        axes.scatter(
            here[:, 0],
            here[:, 1],
            s=22 * max(1.0, 0.65 * len(str(value))) ** 2,  # of one height, however many digits
            marker=f"${value}$",
            color=colour,
            linewidths=0.4,
        )
    axes.set(xlabel=x, ylabel=y, title=title)
    return axes
