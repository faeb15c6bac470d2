"""The page: everything a comparison wrote, as one file that needs no other."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from pyrovae.records import OutputFolder
from pyrovae.report import words
from pyrovae.report.entries import Comparison, read
from pyrovae.report.section import section
from pyrovae.report.svg import DARK, PALETTE
from pyrovae.report.table import columns, unfit_lines
from pyrovae.storage.files import write_atomically


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
    environment.globals.update(words=words, columns=columns, unfit=unfit_lines)
    among = [comparison.data for comparison in comparisons]
    sections = [section(one, f"d{i}", among) for i, one in enumerate(comparisons)]
    return environment.get_template("page.html.jinja").render(
        sections=sections,
        style=Markup(_variables() + _file("style.css")),
        versions=_versions(comparisons),
        has_k_hat=any(e.mean("k_hat_bad_share") for c in comparisons for e in c.entries),
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


def _versions(comparisons: list[Comparison]) -> dict[str, str]:
    """Every version of every package that the runs name."""
    found: dict[str, dict[str, None]] = {}
    for comparison in comparisons:
        for entry in comparison.entries:
            for record in entry.records:
                for package, version in (record.get("versions") or {}).items():
                    found.setdefault(package, {})[str(version)] = None
    return {package: ", ".join(versions) for package, versions in found.items()}
