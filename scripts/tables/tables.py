"""What the scripts of the published tables share: training, evaluation, printing and recording."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from cells import PARTICLES, Cell
from numpy.typing import NDArray
from speed import measure

from pyrovae import checkpoint
from pyrovae.evidence import ImportanceSampling
from pyrovae.experiment import Experiment, run
from pyrovae.records import OutputFolder, RunFolder
from pyrovae.running.config import Config
from pyrovae.running.run_record import identity
from pyrovae.storage.files import without_non_finite, write_json
from pyrovae.training.checkpoint_folder import CheckpointFolder
from pyrovae.training.interrupts import Interrupted
from pyrovae.training.progress import Measurement
from pyrovae.training.resume import Keeping

RESULTS = Path(__file__).parent.parent / "results"
Cells = Callable[[argparse.Namespace], list[Cell]]


def options_of(description: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cells", nargs="+", help="which of the table; all by default")
    add("--seeds", nargs="+", type=int, default=[0])
    add(
        "--passes", type=int, help="over the training images; other than the default is another run"
    )
    add("--minutes", type=float, help="of training, for all runs; then what is there is evaluated")
    add("--output", default="results/published", help="folder of the runs, which go on from there")
    add(
        "--images",
        type=int,
        help="test images that an unfinished run is evaluated on; all by default",
    )
    add("--particles", type=int, default=PARTICLES, help="for them")
    add("--evaluations", type=int, default=1, help="repeat the evaluation with as many seeds")
    add("--threads", type=int, default=1)
    add(
        "--measure", action="store_true", help="only time a step and an evaluation of 10,000 images"
    )
    add(
        "--points",
        type=int,
        default=100,
        help="training images whose gaps are measured, if any are",
    )
    add("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    return parser.parse_args(arguments)


def main(name: str, description: str | None, cells: Cells) -> None:
    """Train what is missing, evaluate, print the table and write its JSON file."""
    options = options_of(description or name)
    torch.set_num_threads(options.threads)
    table = {cell.name: cell for cell in cells(options)}
    unknown = sorted(set(options.cells or ()) - set(table))
    if unknown:
        sys.exit(f"There is no cell {unknown[0]!r}; known are {', '.join(table)}.")
    chosen = [table[c] for c in options.cells or table]
    if options.measure:
        write(name, "measured", measure(chosen[0].config), options)
        return
    output, until = OutputFolder.claim(options.output), deadline(options.minutes)
    for cell in chosen:
        for seed in options.seeds:
            found = carry_out(cell.config.updated({"seed": seed}), output, until, options)
            write(name, cell.name, describe(cell) | {"runs": {str(seed): found}}, options)
    print(text(options.results / f"{name}.json"))


def deadline(minutes: float | None) -> float:
    """When training has to stop."""
    return float("inf") if minutes is None else time.monotonic() + 60 * minutes


def carry_out(
    config: Config, output: OutputFolder, until: float, options: argparse.Namespace
) -> dict[str, Any]:
    """One run, from its last checkpoint if it has one, and its figures; not finished if time is up."""
    config = config.complete()
    folder = folder_of(config, output)

    def look(at: Measurement) -> None:
        if time.monotonic() > until:
            signal.raise_signal(signal.SIGTERM)  # the step is finished, and a checkpoint written

    if folder.finished() is None and time.monotonic() < until:
        try:
            run(config, folder, on_epoch=look, keeping=Keeping(resume=folder.has_checkpoints))
        except Interrupted:
            if until == float("inf"):
                raise
    return figures(config, folder, options)


def folder_of(config: Config, output: OutputFolder) -> RunFolder:
    """Where a run of this configuration lies, even one begun when parts had fewer options."""
    for folder in output.runs():
        try:
            told = Config.from_yaml(folder.config() or "").complete()
        except (TypeError, ValueError):
            continue
        if trains(told) == trains(config):
            return folder
    return output.run(config.run_name)


def trains(config: Config) -> dict[str, Any]:
    """What a configuration says of the run, but for the draws of its ELBO at the end."""
    return {key: value for key, value in config.plain().items() if key != "evaluate"}


def figures(config: Config, folder: RunFolder, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of a run, finished or not."""
    record = folder.finished()
    metrics = folder.metrics() if record else kept(folder)
    found: dict[str, Any] = {
        "status": "finished" if record else "partial",
        "passes": len(metrics["epoch"]),
        "of passes": config.fit["epochs"],
        "batch size": config.fit["batch_size"],
        "train seconds": round(float(metrics["seconds"][-1])) if len(metrics["seconds"]) else 0,
        "curve": curve(metrics["epoch"].tolist(), metrics["train_bound"].tolist()),
        "validation": curve(metrics["epoch"].tolist(), metrics["validation_bound"].tolist()),
    }
    scored = []
    if record:
        scored.append((record["test_log_evidence"], record["test_log_evidence_se"]))
        found["elbo"], found["data"] = record["test_elbo"], record["data"]
    if len(scored) < options.evaluations:
        experiment = trained(config, folder)
        found["data"] = experiment.data.describe()
        for number in range(len(scored), options.evaluations):
            scored.append(evaluate(experiment, options, config.seed + number))
    if not record:
        found |= {"images": options.images, "particles": options.particles}
    found["log p"], found["log p error"] = scored[0]
    found["evaluations"] = [value for value, _ in scored]
    return found


def kept(folder: RunFolder) -> dict[str, NDArray[np.float64]]:
    """What was measured up to the last checkpoint."""
    metrics, paths = folder.metrics(), folder.checkpoints_path.glob("step-*.json")
    last = max((int(path.stem.split("-")[1]) for path in paths), default=0)
    return {key: values[metrics["step"] <= last] for key, values in metrics.items()}


def trained(config: Config, folder: RunFolder) -> Experiment:
    """The parts with the last parameters of a run, or those it would begin with."""
    experiment = Experiment.build(config)
    parts = {"model": experiment.model, "guide": experiment.guide}
    if folder.finished():
        checkpoint.restore(checkpoint.load(folder.parameters_path)[0], **parts)
    elif folder.has_checkpoints:
        state = CheckpointFolder(folder.checkpoints_path).newest()
        tensors = state[0] if state else {}
        best = any(key.startswith("best.") for key in tensors)
        prefix = "best." if best else "now."
        kept = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
        checkpoint.restore(kept, **parts)
    return experiment


def evaluate(experiment: Experiment, options: argparse.Namespace, seed: int) -> tuple[float, float]:
    """Mean of log p(x) over the test images, and the standard error that the draws give it."""
    estimator = ImportanceSampling(num_particles=options.particles)
    values, errors = [], []
    for x in experiment.data.fixed("test")[: options.images].split(1000):
        found = estimator(experiment.model, experiment.guide, x, seed=seed)
        values.append(found.value)
        errors.append(found.standard_error)
    value, error = torch.cat(values), torch.cat(errors)
    return float(value.mean()), float(error.square().sum() ** 0.5) / len(value)


def curve(epochs: Sequence[float], bounds: Sequence[float], most: int = 40) -> list[list[float]]:
    """Pass and bound where it was measured, at about so many passes."""
    seen = [(int(e), round(b, 2)) for e, b in zip(epochs, bounds, strict=True) if b == b]
    every = max(1, len(seen) // most)
    return [list(at) for i, at in enumerate(seen) if i % every == 0 or i == len(seen) - 1]


def describe(cell: Cell) -> dict[str, Any]:
    """What a cell says of itself, in JSON."""
    plain = cell.config.complete().plain()
    kept = ("data", "model", "guide", "objective", "optim", "scheduler", "evidence", "fit")
    return {
        "published": cell.published,
        "source": cell.source,
        "reproductions": list(cell.reproductions),
        "note": cell.note,
        "config": {k: plain[k] for k in kept},
    }


def write(name: str, key: str, found: dict[str, Any], options: argparse.Namespace) -> None:
    """Put one entry into the JSON file of a table; other entries and other seeds stay."""
    path = options.results / f"{name}.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    found["command"] = shlex.join(
        ["python", f"scripts/tables/{name}.py", *without_folders(sys.argv[1:])]
    )
    found["versions"] = identity(Config())["versions"]
    found["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} thread(s)"
    if runs := held.get(key, {}).get("runs", {}) | found.get("runs", {}):
        found["runs"] = runs
    held[key] = without_non_finite(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, held)


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
        runs = list(cell.get("runs", {}).values())
        if not runs:
            continue
        values = [r["log p"] for r in runs]
        ours, note = mean(values), "" if len(values) == 1 else f" ± {stdev(values):.2f} over seeds"
        passes = " ".join(
            f"{r['passes']}"
            + (f" of {r['of passes']}" if r["status"] == "partial" else "")
            + (f", {r['images']} images" if r.get("images") else "")
            for r in runs
        )
        known = sorted((cell["published"], *cell["reproductions"]))
        spread = f"{known[0]:.2f} to {known[-1]:.2f}" if cell["reproductions"] else "none known"
        lines.append(
            f"| {name} | {ours:.2f} ({max(r['log p error'] for r in runs):.3f}){note} "
            f"| {cell['published']:.2f} | {ours - cell['published']:+.2f} | {spread} | {passes} "
            f"| {cell['source']} |"
        )
    return "\n".join(lines)
