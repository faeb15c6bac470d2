"""Is a fit by several processes the fit of one: gradients and evidence."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev

import numpy as np
from starting import Found, command, finish, fits, record, start

from pyrovae import checkpoint


def gradients(folder: Path) -> Found:
    """Furthest from those of one process, relative to the largest of the same parameter."""
    for ranks in (1, 2, 4):
        (folder / str(ranks)).mkdir()
        fits(ranks, "gradients", folder / str(ranks))
    found: Found = {}
    for path in sorted((folder / "1").glob("*.safetensors")):
        right, _ = checkpoint.load(path)
        for ranks in (2, 4):
            other, _ = checkpoint.load(folder / str(ranks) / path.name)
            far = [(other[k] - t).abs().max() / t.abs().max() for k, t in right.items()]
            found[f"{path.stem}, {ranks} processes"] = float(max(far))
    precisions = {
        kind: [v for k, v in found.items() if kind in k] for kind in ("float32", "float64")
    }
    return found | {f"largest, {kind}": max(values) for kind, values in precisions.items()}


def evidence(folder: Path, seeds: int = 5) -> Found:
    """Log evidence of fits by one and by two processes, and how many standard errors they are apart."""
    found: Found = {}
    for guide in ("Amortized", "PerDatapoint"):
        by: dict[int, list[float]] = {1: [], 2: []}
        for seed in range(seeds):
            for ranks in by:
                here = folder / f"{guide}-{ranks}-{seed}"
                words = ("--guide", guide, "--fit.epochs", 150, "--seed", seed)
                finish(start(ranks, *command(here, *words)))
                by[ranks].append(record(here)["test_log_evidence"])
        error = float(np.hypot(*(stdev(values) / seeds**0.5 for values in by.values())))
        found[guide] = {
            "one process": by[1],
            "two processes": by[2],
            "difference": mean(by[2]) - mean(by[1]),
            "its standard error": error,
            "standard errors apart": (mean(by[2]) - mean(by[1])) / error,
        }
    return found
