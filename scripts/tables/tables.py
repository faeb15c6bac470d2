"""What the scripts of the published tables share: training and evaluation."""

from __future__ import annotations

import argparse
import math
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import recording
import torch
from cells import Cell
from numpy.typing import NDArray
from speed import measure
from typed import options_of, spoken

from pyrovae import checkpoint
from pyrovae.evidence import ImportanceSampling
from pyrovae.experiment import Experiment, run
from pyrovae.records import OutputFolder, RunFolder
from pyrovae.running.config import Config
from pyrovae.training.checkpoint_folder import CheckpointFolder
from pyrovae.training.interrupts import Interrupted
from pyrovae.training.progress import Measurement
from pyrovae.training.resume import Keeping

Cells = Callable[[argparse.Namespace], list[Cell]]


def main(name: str, description: str | None, cells: Cells) -> None:
    """Train what is missing, evaluate, print the table and write its JSON file."""
    options = options_of(description or name)
    with spoken(name):
        fill(name, cells(options), options)


def fill(name: str, cells: Sequence[Cell], options: argparse.Namespace) -> None:
    """Train and evaluate the cells asked for."""
    torch.set_num_threads(options.threads)
    table, path = {cell.name: cell for cell in cells}, options.results / f"{name}.json"
    unknown = sorted(set(options.cells or ()) - set(table))
    if unknown:
        raise ValueError(f"there is no cell {unknown[0]!r}; known are {', '.join(table)}")
    chosen = [table[c] for c in options.cells or table]
    if options.measure:
        told = recording.provenance(name, options.threads)
        recording.write(path, "measured", measure(chosen[0].config) | told)
        return
    wanted = [(cell, seed) for cell in chosen for seed in options.seeds]
    refused = [why for cell, seed in wanted if (why := recording.refusal(path, cell, seed))]
    if refused and not options.replace:
        raise ValueError(refused[0])
    output, until = OutputFolder.claim(options.output), deadline(options.minutes)
    for cell, seed in wanted:
        found = carry_out(cell.config.updated({"seed": seed}), output, until, options)
        recording.record(name, cell, seed, found, options.results, options.threads)
    print(recording.text(path))


def deadline(minutes: float | None) -> float:
    """When training has to stop."""
    return math.inf if minutes is None else time.monotonic() + 60 * minutes


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
            if time.monotonic() < until:
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
    found["evaluations"] = evaluations = []
    if record:
        found["elbo"], found["data"] = record["test_elbo"], record["data"]
        found["share of k-hat above its threshold"] = record["k_hat_bad_share"]
        evaluations.append(first_of(record, config))
    if len(evaluations) < options.evaluations:
        experiment = trained(config, folder)
        found["data"] = experiment.data.describe()
        for number in range(len(evaluations), options.evaluations):
            evaluations.append(evaluate(experiment, options, config.seed + number, bool(record)))
    found["log p"], found["log p error"] = (evaluations[0][key] for key in ("log p", "error"))
    return found


def first_of(record: Any, config: Config) -> dict[str, Any]:
    """The evaluation that a finished run made itself."""
    return {
        "log p": record["test_log_evidence"],
        "error": record["test_log_evidence_se"],
        "seed": config.seed,
        "images": record["data"]["rows"]["test"],
        "particles": config.evidence.plain_options()["num_particles"],
    }


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


def evaluate(
    experiment: Experiment, options: argparse.Namespace, seed: int, finished: bool
) -> dict[str, Any]:
    """Mean of log p(x) over test images, and the standard error that the draws give it.

    A finished run is evaluated again as it was at its end.
    """
    estimator: Any = experiment.estimator
    rows = experiment.data.fixed("test")
    if not finished:
        estimator = ImportanceSampling(num_particles=options.particles)
        rows = rows[: options.images]
    found = [estimator(experiment.model, experiment.guide, x, seed=seed) for x in rows.split(1000)]
    value = torch.cat([f.value for f in found])
    error = torch.cat([f.standard_error for f in found])
    return {
        "log p": float(value.mean()),
        "error": float(error.square().sum() ** 0.5) / len(value),
        "seed": seed,
        "images": len(rows),
        "particles": estimator.num_particles,
    }


def curve(epochs: Sequence[float], bounds: Sequence[float], most: int = 40) -> list[list[float]]:
    """Pass and bound where it was measured, at about so many passes."""
    seen = [(int(e), round(b, 2)) for e, b in zip(epochs, bounds, strict=True) if b == b]
    every = max(1, len(seen) // most)
    return [list(at) for i, at in enumerate(seen) if i % every == 0 or i == len(seen) - 1]
