"""What the page says of one comparison: its figures, its pictures, how its runs were made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import yaml

from pyrovae.records import RunFolder
from pyrovae.report import cost, curves, plots
from pyrovae.report.entries import PARTS, Comparison, Entry, part_options
from pyrovae.report.pictures import Pictures, pictures
from pyrovae.report.svg import PALETTE
from pyrovae.report.table import Data, describe, title


class Figure(NamedTuple):
    """One figure, drawn for a wide screen and for a phone."""

    wide: str
    narrow: str


class Shown(NamedTuple):
    """An entry with what the page shows of it."""

    entry: Entry
    colour: str  # of its model, a CSS value
    pictures: Pictures


class Section(NamedTuple):
    """What the page says of one comparison."""

    id: str
    title: str
    about: str  # the data, in words
    comparison: Comparison
    shown: list[Shown]
    best: list[Shown]  # of each model
    gaps: Figure
    cost: Figure
    training: Figure

    @property
    def seeds(self) -> int:
        """The most seeds that any entry was run with."""
        return max((len(one.entry.records) for one in self.shown), default=0)

    @property
    def contents(self) -> list[tuple[str, str]]:
        """The parts of the section: the end of their anchor, and their name."""
        parts = [
            ("table", "Results", True),
            ("gap", "Evidence and gap", self.gaps.wide),
            ("cost", "Cost", self.cost.wide),
            ("training", "Training", self.training.wide),
            ("samples", "Draws", self.has("samples") or self.has("sample_means")),
            ("reconstructions", "Reconstructions", self.has("reconstructions")),
            ("latent", "Latent space", self.has("latent")),
            ("components", "Components", self.has("components")),
            ("runs", "Every run", len(self.shown) > len(self.best) and self.has("any")),
        ]
        return [(anchor, name) for anchor, name, there in parts if there]

    def has(self, what: str) -> bool:
        """Whether any run has such a picture."""
        return any(getattr(one.pictures, what) for one in self.shown)

    def configurations(self) -> list[tuple[str, str, str]]:
        """Each run's name, the command that repeats it, and its configuration."""
        return [
            (
                run.name,
                f"pyrovae fit --config runs/{run.name}/config.yaml",
                _config(run),
            )
            for one in self.shown
            for record, run in zip(one.entry.records, one.entry.runs, strict=False)
        ]

    def options(self) -> list[tuple[str, str, str]]:
        """What kind of part, its name, and the options it was given; each once, models first."""
        told: dict[tuple[str, str, str], None] = {}
        for part in PARTS:
            for one in self.shown:
                options = part_options(one.entry.records[0], part)
                text = _listed(options)
                told[(part, str(one.entry.records[0].get(part)), text or "defaults")] = None
        for kind in ("evidence", "evaluate"):  # how the numbers were made: only in configurations
            for one in self.shown:
                for run in one.entry.runs[:1]:
                    settings = _settings(_config(run), kind)
                    name = str(settings.pop("name", ""))
                    if text := _listed(settings):
                        told[(kind, name, text)] = None
        return list(told)


def section(comparison: Comparison, name: str, among: Sequence[Data] = ()) -> Section:
    """Draw everything that the page shows of a comparison.

    Args:
        comparison: of runs on the same data.
        name: keeps its anchors apart from those of other sections.
        among: the data of all sections, whose names must tell them apart.
    """
    names = {light: f"var(--{key})" for key, light in PALETTE.items()}
    colour = {model: names[light] for model, light in plots.colours(comparison).items()}
    shown = [
        Shown(entry, colour[entry.model], pictures(entry, f"{name}-z{i}"))
        for i, entry in enumerate(comparison.entries)
    ]
    best = comparison.best()
    said = title(comparison.data, among) or "runs"
    return Section(
        id=name,
        title=said[0].upper() + said[1:],
        about=describe(comparison.data, among),
        comparison=comparison,
        shown=shown,
        best=[one for one in shown if one.entry in best],
        gaps=_figure(plots.evidence_and_gap, comparison, f"{name}-gap"),
        cost=_figure(cost.evidence_against_cost, comparison, f"{name}-cost"),
        training=_figure(curves.training, comparison, f"{name}-train"),
    )


def _figure(draw: Callable[..., str], comparison: Comparison, name: str) -> Figure:
    return Figure(draw(comparison, f"{name}w"), draw(comparison, f"{name}n", narrow=True))


def _config(run: RunFolder) -> str:
    try:
        return run.config() or ""
    except ValueError:
        return ""


def _settings(config: str, part: str) -> dict[str, Any]:
    """One part of a configuration, as far as the text can be read."""
    try:
        read = yaml.safe_load(config)
    except yaml.YAMLError:
        return {}
    found = read.get(part) if isinstance(read, dict) else None
    return dict(found) if isinstance(found, dict) else {}


def _listed(options: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in options.items())
