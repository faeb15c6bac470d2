"""Cremer, Li & Duvenaud 2018, Inference suboptimality in variational autoencoders: the gaps on MNIST.

    python scripts/tables/cremer2018.py --points 100

Binarised once for all, 50 latent units, 200-200 ELU, a fully factorised guide. Gaps are measured on training
images, as in the reproduction, and on test images. log p(x) is estimated by importance sampling from the best
guide of the family (5,000 draws) and by annealed importance sampling; both are lower bounds in expectation,
and the one with the larger mean over the images is taken for all. Draws `cremer2018.svg` beside the JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import recording
import torch
from cells import Cell, one_layer
from matplotlib.figure import Figure
from tables import carry_out, deadline, folder_of, trained
from typed import parser_of, spoken, whole

from pyrovae.diagnostics import gaps
from pyrovae.evidence import AnnealedImportanceSampling
from pyrovae.experiment import Experiment
from pyrovae.records import OutputFolder
from pyrovae.sources.dataset import PARTS
from pyrovae.sources.dataset import Part as PartName

# A reproduction with 60,000 images and 5,000 passes: training bounds, and IWAE-100 at the local optimum.
REPRODUCED = {"L[q]": -92.87, "L[q*]": -90.28, "log p": -89.13}
COLOURS = {"amortization": "#b35806", "approximation": "#1b7f5f"}
SOURCE = "ATML-2022-Group6/inference-suboptimality, a reproduction; stored results, warm-up"


def cell(passes: int | None) -> Cell:
    """The VAE of the paper; the draw of the binarisation is ours, not that of Larochelle's files."""
    data = {"name": "MNIST", "binarisation": "static", "validation": 400}
    config = one_layer(
        data, {"name": "ELBO"}, passes=passes or 300, activation="elu", validate_every=20
    )
    return Cell("VAE", config, REPRODUCED["log p"], SOURCE)


def decompose(experiment: Experiment, part: PartName, points: int) -> dict[str, Any]:
    """Bounds, gaps and both estimates of log p(x) for the first images of a part, means in nats."""
    model, guide = experiment.model, experiment.guide
    x = experiment.data.fixed(part)[:points]
    found = gaps(model, guide, x, num_particles=1000)
    annealing = AnnealedImportanceSampling(start="guide", temperatures=500)
    annealed = annealing(model, guide, x, seed=0)
    estimates = {
        "importance sampling": (found.log_evidence, found.log_evidence_error),
        "annealed importance sampling": (annealed.value, annealed.standard_error),
    }
    larger = max(estimates, key=lambda name: float(estimates[name][0].mean()))
    best, error = estimates[larger]
    return {
        "points": len(x),
        "L[q]": summary(found.bound, found.bound_error),
        "L[q*]": summary(found.best_bound, found.best_bound_error),
        **{f"log p, {name}": summary(*estimate) for name, estimate in estimates.items()},
        "log p": summary(best, error),
        "log p is of": larger,
        "approximation": float((best - found.best_bound).mean()),
        "amortization": float(found.amortization.mean()),
        "inference": float((best - found.bound).mean()),
        "annealed is larger for": int((annealed.value > found.log_evidence).sum()),
        "converged": found.converged,
    }


def summary(values: torch.Tensor, errors: torch.Tensor) -> list[float]:
    """Mean, and the standard error that the draws give it."""
    return [float(values.mean()), float(errors.square().sum() ** 0.5) / len(values)]


def draw(measured: dict[str, dict[str, Any]], passes: int, path: Path) -> None:
    """Bars from L[q] over L[q*] to log p(x): ours on both parts, beside the reproduction."""
    bars: dict[str, dict[str, float]] = {"reproduction, training images": REPRODUCED}
    for part, found in measured.items():
        images = {"train": "training"}.get(part, part)
        bars[f"ours, {passes} passes, {images} images"] = {k: found[k][0] for k in REPRODUCED}
    figure = Figure(figsize=(7.6, 0.9 + 0.62 * len(bars)), layout="constrained")
    axes = figure.subplots()
    for height, bounds in enumerate(bars.values()):
        low, middle, high = bounds["L[q]"], bounds["L[q*]"], bounds["log p"]
        for left, right, gap in ((low, middle, "amortization"), (middle, high, "approximation")):
            label = None if height else f"{gap} gap"
            axes.barh(height, right - left, left=left, color=COLOURS[gap], height=0.5, label=label)
            where = 0.5 * (left + right)
            axes.text(where, height, f"{right - left:.2f}", ha="center", va="center", color="white")
    axes.set_yticks(range(len(bars)), list(bars))
    axes.use_sticky_edges = False
    axes.margins(x=0.04)
    axes.set_xlabel("nats per image, from L[q] over L[q*] to log p(x)")
    figure.legend(frameon=False, loc="outside upper right", ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def text(path: Path) -> str:
    """The table of the JSON file."""
    entry = json.loads(path.read_text())["VAE"]
    columns = {"reproduction, train": REPRODUCED} | entry["gaps"]
    rows = [("", *columns), ("---", *("---" for _ in columns))]
    for key in (*next(iter(entry["gaps"].values())),):
        rows.append((key, *(_cell(column.get(key)) for column in columns.values())))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return f"{value[0]:.2f} ({value[1]:.3f})"
    return f"{value:.2f}" if isinstance(value, float) else "" if value is None else str(value)


def measure(options: argparse.Namespace) -> None:
    """Train, decompose, record, draw and print."""
    torch.set_num_threads(options.threads)
    path = options.results / "cremer2018.json"
    config = cell(options.passes).config.updated({"seed": options.seed}).complete()
    output = OutputFolder.claim(options.output)
    run = carry_out(config, output, deadline(options.minutes), options)
    experiment = trained(config, folder_of(config, output))
    found = {part: decompose(experiment, part, options.points) for part in options.parts}
    run |= {"config": recording.described(config)}
    entry = {"published": REPRODUCED, "source": SOURCE, "gaps": found}
    entry |= {"runs": {str(config.seed): run}} | recording.provenance(path.stem, options.threads)
    recording.write(path, "VAE", entry)
    draw(found, run["passes"], path.with_suffix(".svg"))
    print(f"{run['passes']} passes of {run['of passes']}; nats per image\n\n{text(path)}")


def options_of() -> argparse.Namespace:
    """What was typed."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--points", type=whole(1), default=100, help="images of each part")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["train", "test"])
    parser.set_defaults(evaluations=1)
    return parser.parse_args()


if __name__ == "__main__":
    chosen = options_of()
    with spoken("cremer2018"):
        measure(chosen)
