"""Training curves: one panel per model, the bound against seconds and against steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from pyrovae.report.entries import Comparison, Entry
from pyrovae.report.plots import LONG, NARROW, WIDE, log_axis, lower_limit
from pyrovae.report.svg import MODEL_COLOURS, PALETTE, figure, fitting, style, to_svg

POINTS = 250  # more than a panel is wide helps nobody
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
X_LABELS = {"seconds": "seconds of training", "step": "steps"}


class Curve(NamedTuple):
    """One entry's bound during training, of its first seed."""

    entry: Entry
    seconds: NDArray[np.float64]
    step: NDArray[np.float64]
    bound: NDArray[np.float64]  # nats per datapoint
    validation: bool  # whether on validation rows, or on training rows


def curves(comparison: Comparison) -> dict[str, list[Curve]]:
    """The curves of each model that has any, the best model first."""
    found: dict[str, list[Curve]] = {}
    for model in comparison.models:
        for entry in comparison.entries:
            curve = _curve(entry) if entry.model == model else None
            if curve is not None:
                found.setdefault(model, []).append(curve)
    return found


def training(comparison: Comparison, name: str, narrow: bool = False) -> str:
    """The figure, or nothing if no run recorded its training."""
    found = curves(comparison)
    if not found:
        return ""
    drawn_curves = [curve for of_model in found.values() for curve in of_model]
    looks = _looks(drawn_curves)
    across = 1 if narrow else min(len(found), 3)
    blocks = -(-len(found) // across)
    keys = _keys(drawn_curves, looks, narrow)
    key_columns = 1 if narrow else 2
    with style():
        height = 2 * blocks * (240 if narrow else 250) + 24 * len(keys) // key_columns + 20
        drawn = figure(NARROW if narrow else WIDE, height)
        grid = drawn.subplots(2 * blocks, across, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        for i, (model, of_model) in enumerate(found.items()):
            for row, x in enumerate(("seconds", "step")):
                axes = grid[2 * (i // across) + row, i % across]
                axes.set_visible(True)
                _panel(axes, of_model, x, looks)
                if i % across == 0:
                    axes.set_ylabel("bound (nats)")
            grid[2 * (i // across), i % across].set_title(
                fitting(model, LONG[NARROW]), fontweight="bold", pad=8
            )
        drawn.legend(handles=keys, loc="outside lower left", ncols=key_columns, handlelength=2.6)
        alt = "Bound during training, one panel per model, against seconds and against steps: "
        return to_svg(drawn, alt + "; ".join(found), name)


class Looks(NamedTuple):
    """Colour tells the objective, dashes the guide, the same in every panel."""

    colour: dict[str, str]
    dashes: dict[str, Any]


def _looks(drawn: Sequence[Curve]) -> Looks:
    objectives = sorted({curve.entry.objective for curve in drawn})
    guides = sorted({curve.entry.guide for curve in drawn})
    # The first colours are the models' in the other figures, so these begin further on.
    shades = [PALETTE[f"c{(i + 3) % MODEL_COLOURS}"] for i in range(len(objectives))]
    dashes = [DASHES[i % len(DASHES)] for i in range(len(guides))]
    return Looks(dict(zip(objectives, shades, strict=True)), dict(zip(guides, dashes, strict=True)))


def _keys(drawn: Sequence[Curve], looks: Looks, narrow: bool) -> list[Line2D]:
    """The legend: each objective, each guide, and which guide's bound is one of training rows."""
    on_training = {curve.entry.guide for curve in drawn if not curve.validation}
    by_colour = [
        Line2D([], [], color=colour, linewidth=3, label=fitting(objective, LONG[NARROW]))
        for objective, colour in looks.colour.items()
    ]
    by_dashes = [
        Line2D(
            [],
            [],
            color=PALETTE["soft"],
            linestyle=dashes,
            label=fitting(guide, LONG[NARROW])
            + (" (training rows)" if guide in on_training else ""),
        )
        for guide, dashes in looks.dashes.items()
    ]
    if narrow:
        return by_colour + by_dashes
    blank = Line2D([], [], linestyle="", label=" ")
    rows = max(len(by_colour), len(by_dashes))
    return [*_padded(by_colour, blank, rows), *_padded(by_dashes, blank, rows)]


def _padded(keys: list[Line2D], blank: Line2D, rows: int) -> list[Line2D]:
    return keys + [blank] * (rows - len(keys))


def _panel(axes: Axes, of_model: Sequence[Curve], x: str, looks: Looks) -> None:
    settled, ends = [], []
    for curve in of_model:
        across = curve.seconds if x == "seconds" else curve.step
        axes.plot(
            across,
            curve.bound,
            color=looks.colour[curve.entry.objective],
            linestyle=looks.dashes[curve.entry.guide],
        )
        settled.append(curve.bound[len(curve.bound) // 5 :])
        ends.append(float(across[-1]))
    low = lower_limit([float(np.percentile(values, 5)) for values in settled])
    high = max(float(values.max()) for values in settled)
    room = max(high - low, 0.5)
    axes.set_ylim(low - 0.08 * room, high + 0.08 * room)
    if min(ends) > 0 and max(ends) / min(ends) > 10:
        log_axis(axes)
        axes.set_xlabel(X_LABELS[x] + " (log scale)")
    else:
        axes.set_xlim(left=0)
        axes.set_xlabel(X_LABELS[x])


def _curve(entry: Entry) -> Curve | None:
    if not entry.runs:
        return None
    try:
        metrics = entry.runs[0].metrics()
    except ValueError:
        return None
    for key in ("validation_bound", "train_bound"):
        kept = np.flatnonzero(np.isfinite(metrics[key]))
        if kept.size >= 2:
            kept = kept[np.unique(np.linspace(0, kept.size - 1, POINTS).round().astype(int))]
            seconds, step = (np.nan_to_num(metrics[x][kept]) for x in ("seconds", "step"))
            return Curve(entry, seconds, step, metrics[key][kept], key == "validation_bound")
    return None
