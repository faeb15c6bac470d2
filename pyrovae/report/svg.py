"""Matplotlib figures as inline SVG that takes its colours and its font from the page.

A figure is drawn in the light palette below. Each of its colours has a name; in the SVG the colour
is replaced by the CSS variable of that name, which `style.css` gives another value on a dark
screen. Text stays text: it can be selected, searched and read aloud.
"""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

PALETTE = {
    "ink": "#1c2126",
    "soft": "#5c656e",
    "line": "#d5d9dd",
    "paper": "#fdfdfc",
    # Models, guides, objectives: Okabe and Ito's colours, darkened where they were faint on white.
    "c0": "#0072b2",
    "c1": "#cc5500",
    "c2": "#00896a",
    "c3": "#a8478b",
    "c4": "#8a6a00",
    "c5": "#4b5f73",
    # Digits: Tol's "muted" scheme and black; the digit itself is drawn, so colour is no sole clue.
    "d0": "#332289",
    "d1": "#cc6678",
    "d2": "#8f7d0f",
    "d3": "#117734",
    "d4": "#1b87b8",
    "d5": "#882256",
    "d6": "#2f9c8b",
    "d7": "#6f6f13",
    "d8": "#aa4498",
    "d9": "#4d4d4d",
}
DARK = {
    "ink": "#e8eaec",
    "soft": "#a3abb3",
    "line": "#3a4148",
    "paper": "#14171a",
    "c0": "#56b4e9",
    "c1": "#f0883e",
    "c2": "#35c79f",
    "c3": "#e08fc4",
    "c4": "#d8b23c",
    "c5": "#a9bacb",
    "d0": "#9a8cf0",
    "d1": "#f08a9b",
    "d2": "#ddcc77",
    "d3": "#4fbf73",
    "d4": "#88ccee",
    "d5": "#e0679f",
    "d6": "#5fd0bf",
    "d7": "#b9b94a",
    "d8": "#dd86cf",
    "d9": "#d0d0d0",
}
MODEL_COLOURS = 6

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": ["sans-serif"],
    "font.size": 13.0,
    "axes.titlesize": 14.5,
    "axes.labelsize": 13.0,
    "axes.edgecolor": PALETTE["line"],
    "axes.labelcolor": PALETTE["soft"],
    "axes.titlecolor": PALETTE["ink"],
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALETTE["line"],
    "grid.linewidth": 0.7,
    "grid.alpha": 1.0,
    "text.color": PALETTE["ink"],
    "xtick.color": PALETTE["line"],
    "ytick.color": PALETTE["line"],
    "xtick.labelcolor": PALETTE["soft"],
    "ytick.labelcolor": PALETTE["soft"],
    "legend.frameon": False,
    "legend.fontsize": 13.0,
    "figure.dpi": 72,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.6,
    "path.simplify": True,
}


def style() -> Any:
    """The figures' style as a context; Matplotlib's own settings are back when it ends."""
    return matplotlib.rc_context(_STYLE)


def figure(width: float, height: float) -> Figure:
    """An empty figure of so many CSS pixels (at 100 % zoom), in no global list of figures."""
    made = Figure(figsize=(width / 72, height / 72), layout="constrained")
    FigureCanvasSVG(made)
    return made


def fitting(name: str, most: int) -> str:
    """A name as it is, or its beginning and its end, of so many characters at most.

    >>> fitting("mylab.models.Mine(latent=2)", 15)
    'mylab.m…tent=2)'
    """
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def to_svg(drawn: Figure, alt: str, name: str) -> str:
    """The figure as an SVG element for a page.

    Args:
        drawn: the figure, drawn in the colours of `PALETTE`.
        alt: what it shows, for those who do not see it.
        name: unlike that of any other figure on the page: it keeps their inner names apart.

    Returns:
        `<svg role="img" ...>`, scaled down with its container but never up.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        drawn.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for unwanted in (r"<metadata>.*?</metadata>", r"<!--.*?-->", r"<style.*?</style>"):
        text = re.sub(unwanted, "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2"', text, count=2)
    for key, colour in PALETTE.items():
        text = text.replace(colour, f"var(--{key})")
    text = re.sub(r"\n\s*", "\n", _own_ids(text, name))
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)


def _own_ids(text: str, name: str) -> str:
    """Drop the ids nothing refers to and put the figure's name before the others."""
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
