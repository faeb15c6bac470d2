"""The JSON file of a table: what a run left in it, what may replace that, and how it is printed."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from cells import Cell

from pyrovae.running.config import Config
from pyrovae.running.run_record import identity
from pyrovae.storage.files import without_non_finite, write_json

RESULTS = Path(__file__).parent.parent / "results"


def described(config: Config) -> dict[str, Any]:
    """What a run was trained with, in JSON."""
    kept = ("data", "model", "guide", "objective", "optim", "scheduler", "evidence", "fit")
    plain = config.complete().plain()
    return without_non_finite({key: plain[key] for key in kept})


def refusal(path: Path, cell: Cell, seed: int) -> str | None:
    """Why a run must not be recorded: the file has one of this cell and seed with other settings."""
    held = _held(path).get(cell.name, {}).get("runs", {}).get(str(seed))
    other = differences(held["config"], described(cell.config)) if held else []
    if not other:
        return None
    return (
        f"{path} holds {cell.name} with seed {seed} and other settings: {'; '.join(other)}. "
        "Give a --results folder of your own, or --replace what it holds."
    )


def differences(held: Any, new: Any, name: str = "") -> list[str]:
    """What is another in the settings of a recorded run; options that parts were given since are not.

    >>> differences({"fit": {"epochs": 3}}, {"fit": {"epochs": 5, "shuffle": True}})
    ['fit.epochs was 3, is 5']
    """
    if isinstance(held, Mapping) and isinstance(new, Mapping):
        within = f"{name}." if name else ""
        return [
            line
            for key, value in held.items()
            for line in differences(value, new.get(key), f"{within}{key}")
        ]
    return [] if held == new else [f"{name} was {held}, is {new}"]


def record(
    name: str, cell: Cell, seed: int, found: dict[str, Any], folder: Path, threads: int
) -> None:
    """Put a run into the file of a table; other cells and other seeds stay.

    A run that is not finished does not take the place of the same run finished.
    """
    path = folder / f"{name}.json"
    entry = _held(path).get(cell.name, {})
    before = entry.get("runs", {}).get(str(seed))
    same = before and not differences(before["config"], described(cell.config))
    if same and before["status"] == "finished" and found["status"] != "finished":
        print(f"{path} keeps the finished run of {cell.name} with seed {seed}.", file=sys.stderr)
        return
    run = found | {"config": described(cell.config)} | provenance(name, threads)
    about = {
        "published": cell.published,
        "source": cell.source,
        "reproductions": list(cell.reproductions),
        "note": cell.note,
    }
    write(path, cell.name, about | {"runs": entry.get("runs", {}) | {str(seed): run}})


def provenance(name: str, threads: int) -> dict[str, Any]:
    """How to make a figure again: what was typed, and with which versions."""
    typed = ["python", f"scripts/tables/{name}.py", *without_folders(sys.argv[1:])]
    return {
        "command": shlex.join(typed),
        "versions": identity(Config())["versions"],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {threads} thread(s)",
    }


def write(path: Path, key: str, entry: dict[str, Any]) -> None:
    """Put one entry into a JSON file; the others stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, _held(path) | {key: without_non_finite(entry)})


def _held(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def without_folders(arguments: Sequence[str]) -> list[str]:
    """What was typed, without the folders of one machine.

    >>> without_folders(["--output", "here", "--passes", "3", "--results=there"])
    ['--passes', '3']
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for folder in ("--output", "--results"):
        parser.add_argument(folder)
    return parser.parse_known_args(arguments)[1]


def text(path: Path) -> str:
    """The table of a JSON file: ours beside the published figure, its source and its reproductions."""
    lines = ["| cell | ours | published | difference | reproductions | passes | source |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, cell in json.loads(path.read_text()).items():
        if runs := list(cell.get("runs", {}).values()):
            lines.append(_line(name, cell, runs))
    return "\n".join(lines)


def _line(name: str, cell: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    values = [run["log p"] for run in runs]
    ours = f"{mean(values):.2f} ({max(run['log p error'] for run in runs):.3f})"
    if len(values) > 1:
        ours += f" ± {stdev(values):.2f} over {len(values)} seeds"
    if spreads := [s for run in runs if (s := over_evaluations(run)) is not None]:
        ours += f", {max(spreads):.2f} over evaluations"
    found = sorted(cell["reproductions"])
    known = f"{found[0]:.2f} to {found[-1]:.2f}" if found else "none known"
    difference = mean(values) - cell["published"]
    passes = ", ".join(dict.fromkeys(map(_passes, runs)))
    return (
        f"| {name} | {ours} | {cell['published']:.2f} | {difference:+.2f} | {known} | {passes} "
        f"| {cell['source']} |"
    )


def over_evaluations(run: Mapping[str, Any]) -> float | None:
    """Standard deviation over evaluations that are alike but for their seed; None if it has one."""
    first, *others = run["evaluations"]
    alike = [e for e in others if all(e[key] == first[key] for key in ("images", "particles"))]
    return stdev([first["log p"], *(e["log p"] for e in alike)]) if alike else None


def _passes(run: Mapping[str, Any]) -> str:
    told = f"{run['passes']:,}"
    if run["status"] == "partial":
        told += f" of {run['of passes']:,}"
    first, rows = run["evaluations"][0], run["data"]["rows"]["test"]
    return told if first["images"] == rows else f"{told} ({first['images']:,} test images)"
