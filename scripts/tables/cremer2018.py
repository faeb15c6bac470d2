"""Cremer, Li & Duvenaud 2018, Inference suboptimality in variational autoencoders: the gaps on MNIST.

    python scripts/tables/cremer2018.py --points 100

Binarised once for all, 50 latent units, 200-200 ELU, a fully factorised guide. Gaps are measured on training
images. log p(x) is the larger of two lower bounds in expectation: importance sampling from the best guide of
the family (5,000 draws), and annealed importance sampling. Draws `cremer2018.svg` beside the JSON file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from cells import Cell, one_layer
from matplotlib.figure import Figure
from tables import carry_out, deadline, folder_of, options_of, trained, write

from pyrovae.diagnostics import gaps
from pyrovae.evidence import AnnealedImportanceSampling
from pyrovae.experiment import Experiment
from pyrovae.records import OutputFolder

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


def decompose(experiment: Experiment, points: int) -> dict[str, Any]:
    """Bounds, gaps and both estimates of log p(x) for the first training images, means in nats."""
    model, guide = experiment.model, experiment.guide
    x = experiment.data.fixed("train")[:points]
    found = gaps(model, guide, x, num_particles=1000)
    annealing = AnnealedImportanceSampling(start="guide", temperatures=500)
    annealed = annealing(model, guide, x, seed=0)
    best = torch.maximum(found.log_evidence, annealed.value)
    return {
        "points": points,
        "L[q]": summary(found.bound, found.bound_error),
        "L[q*]": summary(found.best_bound, found.best_bound_error),
        "log p, importance sampling": summary(found.log_evidence, found.log_evidence_error),
        "log p, annealed": summary(annealed.value, annealed.standard_error),
        "log p": summary(best, torch.minimum(found.log_evidence_error, annealed.standard_error)),
        "approximation": float((best - found.best_bound).mean()),
        "amortization": float(found.amortization.mean()),
        "inference": float((best - found.bound).mean()),
        "annealed is larger for": int((annealed.value > found.log_evidence).sum()),
        "converged": found.converged,
    }


def summary(values: torch.Tensor, errors: torch.Tensor) -> list[float]:
    """Mean, and the standard error that the draws give it."""
    return [float(values.mean()), float(errors.square().sum() ** 0.5) / len(values)]


def draw(found: dict[str, Any], passes: int, path: Path) -> None:
    """Bars from L[q] over L[q*] to log p(x): ours beside the reproduction."""
    ours = {key: found[key][0] for key in REPRODUCED}
    figure = Figure(figsize=(6.4, 2.4), layout="constrained")
    axes = figure.subplots()
    for height, bounds in enumerate((REPRODUCED, ours)):
        low, middle, high = bounds["L[q]"], bounds["L[q*]"], bounds["log p"]
        for left, right, gap in ((low, middle, "amortization"), (middle, high, "approximation")):
            label = f"{gap} gap" if height else None
            axes.barh(height, right - left, left=left, color=COLOURS[gap], height=0.5, label=label)
            where = 0.5 * (left + right)
            axes.text(where, height, f"{right - left:.2f}", ha="center", va="center", color="white")
    axes.set_yticks([0, 1], ["reproduction", f"ours, {passes} passes"])
    axes.use_sticky_edges = False
    axes.margins(x=0.04)
    axes.set_xlabel("nats per training image, from L[q] over L[q*] to log p(x)")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(0, 0.62))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def main(options: argparse.Namespace) -> None:
    """Train, decompose, print, record and draw."""
    torch.set_num_threads(options.threads)
    output = OutputFolder.claim(options.output)
    config = cell(options.passes).config.updated({"seed": options.seeds[0]}).complete()
    run = carry_out(config, output, deadline(options.minutes), options)
    experiment = trained(config, folder_of(config, output))
    found = decompose(experiment, options.points)
    entry = {"published": REPRODUCED, "source": SOURCE, "config": config.plain()}
    write("cremer2018", "VAE", entry | {"gaps": found, "runs": {str(config.seed): run}}, options)
    draw(found, run["passes"], options.results / "cremer2018.svg")
    print(f"{run['passes']} passes of {run['of passes']}; nats per training image")
    for key, value in found.items():
        ours = f"{value[0]:.2f} ({value[1]:.3f})" if isinstance(value, list) else f"{value}"
        print(f"{key:<28}{ours:<24}{REPRODUCED.get(key, '')}")


if __name__ == "__main__":
    main(options_of(__doc__ or ""))
