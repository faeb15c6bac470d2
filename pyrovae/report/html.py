"""The page: everything a comparison wrote, as one file that needs no other."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from pyrovae.files import write_atomically
from pyrovae.records import OutputFolder
from pyrovae.report import cost, curves, plots, words
from pyrovae.report.entries import PARTS, Comparison, Entry, part_options, read
from pyrovae.report.pictures import Pictures, pictures
from pyrovae.report.svg import DARK, PALETTE
from pyrovae.report.table import columns, describe, unfit_lines


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
                record.get("command") or f"pyrovae fit --config runs/{run.name}/config.yaml",
                run.config() or "",
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
                text = ", ".join(f"{key} = {value}" for key, value in options.items())
                told[(part, str(one.entry.records[0].get(part)), text or "defaults")] = None
        return list(told)


def write(out_dir: str | os.PathLike[str]) -> Path:
    """Write `report.html` into an output folder, from what the runs in it wrote.

    The page holds its figures, style and pictures itself: it loads nothing and runs no script.
    Unfinished and failed runs are named with their errors; pictures that a run did not write are
    left out.

    Args:
        out_dir: the folder that `pyrovae compare` or `pyrovae fit` wrote to.

    Returns:
        The path of the page.

    Raises:
        ValueError: the folder holds no runs, or a file in it is not what its name says.
        OSError: the page cannot be written.
    """
    folder = OutputFolder.open(out_dir)
    write_atomically(folder.report_path, page(read(folder)).encode())
    return folder.report_path


def page(comparisons: list[Comparison]) -> str:
    """The page of these comparisons, as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(words=words, columns=columns, describe=describe, unfit=unfit_lines)
    sections = [_section(comparison, f"d{i}") for i, comparison in enumerate(comparisons)]
    return environment.get_template("page.html.jinja").render(
        sections=sections,
        style=Markup(_variables() + _file("style.css")),
        versions=_versions(comparisons),
    )


def _file(name: str) -> str:
    return resources.files("pyrovae.report").joinpath(name).read_text(encoding="utf-8")


def _variables() -> str:
    """The figures' colours as CSS variables, for light and dark screens."""
    light, dark = (
        " ".join(f"--{key}: {colour};" for key, colour in palette.items())
        for palette in (PALETTE, DARK)
    )
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    )


def _section(comparison: Comparison, name: str) -> Section:
    names = {light: f"var(--{key})" for key, light in PALETTE.items()}
    colour = {model: names[light] for model, light in plots.colours(comparison).items()}
    shown = [
        Shown(entry, colour[entry.model], pictures(entry, f"{name}-z{i}"))
        for i, entry in enumerate(comparison.entries)
    ]
    best = comparison.best()
    data = [str(comparison.data[key]) for key in ("name", "form") if comparison.data.get(key)]
    return Section(
        id=name,
        title=", ".join(data).capitalize() or "Runs",
        comparison=comparison,
        shown=shown,
        best=[one for one in shown if one.entry in best],
        gaps=_figure(plots.evidence_and_gap, comparison, f"{name}-gap"),
        cost=_figure(cost.evidence_against_cost, comparison, f"{name}-cost"),
        training=_figure(curves.training, comparison, f"{name}-train"),
    )


def _figure(draw: Callable[..., str], comparison: Comparison, name: str) -> Figure:
    return Figure(draw(comparison, f"{name}w"), draw(comparison, f"{name}n", narrow=True))


def _versions(comparisons: list[Comparison]) -> dict[str, str]:
    """Every version of every package that the runs name."""
    found: dict[str, dict[str, None]] = {}
    for comparison in comparisons:
        for entry in comparison.entries:
            for record in entry.records:
                for package, version in (record.get("versions") or {}).items():
                    found.setdefault(package, {})[str(version)] = None
    return {package: ", ".join(versions) for package, versions in found.items()}
