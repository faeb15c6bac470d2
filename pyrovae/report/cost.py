"""The figure of log evidence against training time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pyrovae.report.entries import Comparison, Entry, Number
from pyrovae.report.plots import LONG, NARROW, WIDE, colours, log_axis, lower_limit
from pyrovae.report.svg import PALETTE, figure, fitting, style, to_svg
from pyrovae.report.words import number

MARKERS = "osD^vPX*"
ROOM = 26  # pixels from one name to the next


class Point(NamedTuple):
    """One entry in the figure."""

    seconds: float
    evidence: Number
    entry: Entry


def evidence_against_cost(comparison: Comparison, name: str, narrow: bool = False) -> str:
    """Log evidence against training time; a line joins the entries that none beats on both."""
    points = [
        Point(seconds.value, evidence, entry)
        for entry in comparison.entries
        if (evidence := entry.evidence)
        and (seconds := entry.mean("train_seconds"))
        and seconds.value > 0
    ]
    if len(points) < 2:
        return ""
    low = lower_limit([point.evidence.value for point in points])
    points = [point for point in points if point.evidence.value >= low]
    colour = colours(comparison)
    guides = sorted({point.entry.guide for point in points})
    marker = {guide: MARKERS[i % len(MARKERS)] for i, guide in enumerate(guides)}
    width = NARROW if narrow else WIDE
    across = _columns([*colour, *guides], width)
    with style():
        drawn = figure(width, 410 + 24 * -(-(len(colour) + len(guides)) // across))
        axes = drawn.add_subplot()
        for point in points:
            _draw_point(axes, point, colour[point.entry.model], marker[point.entry.guide])
        _draw_front(axes, points, narrow)
        log_axis(axes)
        axes.margins(x=0.12, y=0.12)
        axes.set_xlabel("training time (seconds, log scale)")
        axes.set_ylabel("log evidence (nats per datapoint)")
        handles = [_key("o", c, fitting(m, LONG[width])) for m, c in colour.items()]
        handles += [_key(marker[g], PALETTE["soft"], fitting(g, LONG[width])) for g in guides]
        drawn.legend(handles=handles, loc="outside upper left", ncols=across)
        alt = "Log evidence against training seconds. " + "; ".join(
            f"{p.entry.label}: {p.seconds:.1f} s, {number(p.evidence)}" for p in points
        )
        return to_svg(drawn, alt, name)


def _draw_point(axes: Axes, point: Point, colour: str, marker: str) -> None:
    axes.errorbar(
        point.seconds,
        point.evidence.value,
        yerr=point.evidence.error if math.isfinite(point.evidence.error) else None,
        fmt=marker,
        color=colour,
        markersize=9,
        markeredgecolor=PALETTE["paper"],
        elinewidth=1.2,
    )


def _columns(names: Sequence[str], width: int) -> int:
    """Of the legend: as many as there is room for."""
    longest = min(LONG[width], max(map(len, names)))
    return min(6, max(1, width // (9 * longest + 40)))


def _key(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], marker=marker, color=colour, label=label, linestyle="", markersize=8)


def _draw_front(axes: Axes, points: Sequence[Point], narrow: bool) -> None:
    """Join and name the entries for which no other had more evidence in less time."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.seconds, -point.evidence.value)):
        if not front or point.evidence.value > front[-1].evidence.value:
            front.append(point)
    axes.plot(
        [point.seconds for point in front],
        [point.evidence.value for point in front],
        drawstyle="steps-post",
        color=PALETTE["soft"],
        linewidth=1,
        linestyle=(0, (4, 3)),
        zorder=0,
    )
    if not narrow:
        seconds = [point.seconds for point in points]
        _name(axes, front, middle=math.sqrt(min(seconds) * max(seconds)))


def _name(axes: Axes, front: Sequence[Point], middle: float) -> None:
    """Name the entries from the best down, but for those whose name would lie on that of a better one."""
    axes.autoscale_view()
    taken: list[float] = []
    for point in reversed(front):
        place = (point.seconds, point.evidence.value)
        height = axes.transData.transform(place)[1]
        if any(abs(height - other) < ROOM for other in taken):
            continue
        taken.append(height)
        left = point.seconds < middle
        axes.annotate(
            fitting(point.entry.label, LONG[WIDE]),
            place,
            xytext=(-4 if left else 4, 10),
            textcoords="offset points",
            fontsize=12,
            ha="left" if left else "right",
            color=PALETTE["ink"],
        )
