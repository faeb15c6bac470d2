"""The figure of log evidence and inference gap, and what all figures share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from pyrovae.report.entries import Comparison, Entry
from pyrovae.report.svg import MODEL_COLOURS, PALETTE, figure, fitting, style, to_svg
from pyrovae.report.words import number

WIDE, NARROW = 1120, 390
LONG = {WIDE: 56, NARROW: 42}  # characters of a name
AXIS = "nats per datapoint (larger is better)"


def colours(comparison: Comparison) -> dict[str, str]:
    """A colour for each model, the same however they rank."""
    return {
        model: PALETTE[f"c{i % MODEL_COLOURS}"] for i, model in enumerate(sorted(comparison.models))
    }


def lower_limit(values: Sequence[float]) -> float:
    """The least value to leave room for: a run gone wrong must not squeeze the others flat."""
    top, middle = float(np.max(values)), float(np.median(values))
    least = middle - 4 * max(top - middle, 5.0)
    return min(value for value in values if value >= least)


def log_axis(axes: Axes) -> None:
    """Make the horizontal axis logarithmic, with plain numbers at 1, 2 and 5 of each decade."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def evidence_and_gap(comparison: Comparison, name: str, narrow: bool = False) -> str:
    """Log evidence (filled) and ELBO (open) of every entry, the line between them the gap."""
    rows = _rows(comparison)
    if not rows:
        return ""
    with style():
        drawn = figure(NARROW if narrow else WIDE, 96 + (46 if narrow else 30) * len(rows))
        axes = drawn.add_subplot()
        _draw_gaps(axes, rows, colours(comparison), narrow)
        kinds = {
            "log evidence": {"markerfacecolor": PALETTE["soft"]},
            "ELBO": {"markerfacecolor": PALETTE["paper"]},
        }
        handles = [
            Line2D([], [], marker="o", linestyle="", color=PALETTE["soft"], label=kind, **look)  # type: ignore[arg-type]
            for kind, look in kinds.items()
        ]
        handles.append(Line2D([], [], color=PALETTE["soft"], linewidth=2.4, label="inference gap"))
        drawn.legend(handles=handles, loc="outside upper right", ncols=3, handletextpad=0.5)
        alt = "Log evidence and ELBO by run. " + "; ".join(
            f"{e.label}: evidence {number(e.evidence)}, gap {number(e.mean('inference_gap'))}"
            for e in rows
            if isinstance(e, Entry)
        )
        return to_svg(drawn, alt, name)


def _rows(comparison: Comparison) -> list[Entry | str]:
    """A model's name, then its entries; the best model first."""
    rows: list[Entry | str] = []
    for model in comparison.models:
        shown = [e for e in comparison.entries if e.model == model and e.evidence]
        rows += [model, *shown] if shown else []
    return rows


def _draw_gaps(
    axes: Axes, rows: Sequence[Entry | str], colour: dict[str, str], narrow: bool
) -> None:
    entries = [row for row in rows if isinstance(row, Entry)]
    values = [n.value for e in entries for n in (e.evidence, e.elbo) if n is not None]
    low, high = lower_limit(values), max(values)
    room = max(high - low, 1.0)
    axes.set_xlim(low - 0.06 * room, high + 0.14 * room)
    axes.set_ylim(len(rows) - 0.4, -0.8)
    for height, row in enumerate(rows):
        if isinstance(row, str):
            axes.axhline(height + 0.42, color=PALETTE["line"], linewidth=0.7)
            continue
        _draw_gap(axes, row, height + (0.2 if narrow else 0), colour[row.model], low - 0.03 * room)
    _name_rows(axes, rows, colour, narrow)
    axes.set_xlabel(AXIS)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _draw_gap(axes: Axes, entry: Entry, height: float, colour: str, left: float) -> None:
    evidence, elbo, gap = entry.evidence, entry.elbo, entry.mean("inference_gap")
    if evidence is None:
        return
    if elbo is not None:
        end = max(elbo.value, left)
        axes.plot([end, evidence.value], [height] * 2, color=colour, linewidth=2.4, alpha=0.45)
        axes.errorbar(
            end,
            height,
            xerr=elbo.error if math.isfinite(elbo.error) and elbo.value >= left else None,
            fmt="o" if elbo.value >= left else "<",
            color=colour,
            markerfacecolor=PALETTE["paper"],
            markersize=8,
            elinewidth=1.2,
        )
    seen = evidence.value >= left
    error = evidence.error if seen and math.isfinite(evidence.error) else None
    at, mark = (evidence.value, "o") if seen else (left, "<")
    axes.errorbar(at, height, xerr=error, fmt=mark, color=colour, markersize=8, elinewidth=1.2)
    told = f"gap {number(gap._replace(error=math.nan))}" if gap else ""
    axes.annotate(
        number(evidence._replace(error=math.nan), 1) + (f" ({told})" if told else ""),
        (at, height),
        xytext=(9, 0),
        textcoords="offset points",
        va="center",
        fontsize=12,
        color=PALETTE["soft"],
        annotation_clip=False,
    )


def _name_rows(
    axes: Axes, rows: Sequence[Entry | str], colour: dict[str, str], narrow: bool
) -> None:
    most = LONG[NARROW if narrow else WIDE]
    names = [fitting(row if isinstance(row, str) else row.algorithm, most) for row in rows]
    if narrow:
        axes.set_yticks([])
    else:
        axes.set_yticks(range(len(rows)), names)
        axes.tick_params(axis="y", length=0)
        for label, row in zip(axes.get_yticklabels(), rows, strict=True):
            if isinstance(row, str):
                label.set_color(colour[row])
                label.set_fontweight("bold")
        return
    for height, row in enumerate(rows):
        model = isinstance(row, str)
        axes.annotate(
            names[height],
            (0, height - (0 if model else 0.25)),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=13.5 if model else 12,
            fontweight="bold" if model else "normal",
            color=colour[row] if isinstance(row, str) else PALETTE["ink"],
            in_layout=False,  # a name that is too long must not take the place of the axes
        )
