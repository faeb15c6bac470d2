"""How the cost of a step grows with the data set, and that of an evaluation with its particles.

    python scripts/benchmark_scaling.py --json scaling.json

A step of a guide with parameters for every row should not depend on the number of rows; log p(x) by
importance sampling should cost time in proportion to K, and memory that does not depend on it.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from pyrovae import SVI, evidence, guides, models
from pyrovae.objectives import ELBO
from pyrovae.storage.files import write_json

ROWS = (10_000, 100_000, 1_000_000)
PARTICLES = (1, 10, 100, 1000, 5000)


def tables(level: Any, rounds: int) -> dict[str, float]:
    """Milliseconds per step by number of rows; the tables take turns."""
    torch.manual_seed(0)
    x = torch.rand(128, 64)
    made = {}
    for rows in ROWS:
        model = models.VAE(64, latent=2, hidden=(64, 64))
        guide = guides.PerDatapoint(rows, 2)
        adam = functools.partial(torch.optim.Adam, lr=1e-3)
        made[rows] = SVI(model, guide, adam, ELBO(), level=level)
        for _ in range(5):
            made[rows].step_tensor(x, index=torch.randint(rows, (128,)), size=rows)
    times: dict[int, list[float]] = {rows: [] for rows in ROWS}
    for _ in range(rounds):
        for rows, svi in made.items():
            for index in torch.randint(rows, (20, 128)):
                began = time.perf_counter()
                svi.step_tensor(x, index=index, size=rows)
                times[rows].append(time.perf_counter() - began)
    return {str(rows): 1e3 * statistics.median(found) for rows, found in times.items()}


def evaluate(particles: int) -> dict[str, float]:
    """Seconds and largest memory of one evaluation, in a process of its own."""
    torch.manual_seed(0)
    model = models.VAE(64, latent=2, hidden=(64, 64))
    guide = guides.Amortized(64, 2, hidden=(64, 64))
    x = torch.rand(100, 64)
    estimator = evidence.ImportanceSampling(num_particles=particles)
    evidence.ImportanceSampling(num_particles=1)(model, guide, x)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        estimator(model, guide, x)
        times.append(time.perf_counter() - began)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(times), "megabytes": memory}


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--level", choices=("eager", "traced", "compiled"), default="compiled")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--particles", type=int, help="measure one evaluation, and print it as JSON"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.particles:
        print(json.dumps(evaluate(options.particles)))
        return
    steps = tables(options.level, options.rounds)
    print(f"a step with a table of N rows, {options.level}: milliseconds")
    for rows, found in steps.items():
        print(f"  N = {int(rows):>9,}{found:10.3f}{found / steps[str(ROWS[0])]:8.2f}")
    print("log p of 100 rows by importance sampling: seconds, seconds per particle, megabytes")
    found = {}
    for particles in PARTICLES:
        command = [sys.executable, __file__, "--particles", str(particles)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[str(particles)] = row = json.loads(answer)
        each = row["seconds"] / particles
        print(f"  K = {particles:>5}{row['seconds']:10.4f}{each:11.6f}{row['megabytes']:9.0f}")
    if options.json:
        write_json(options.json, {"tables": steps, "evaluation": found})


if __name__ == "__main__":
    main()
