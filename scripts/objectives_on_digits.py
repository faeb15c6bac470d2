"""Which objective gives the best test evidence in equal time: a VAE on the digits, five seeds, one table.

Run as ``python scripts/objectives_on_digits.py``. Every objective trains the same model and guide from the
same start for the same time of one processor; the parameters with the best validation bound are kept, and
log p(x) of the test rows is estimated by importance sampling with the same number of particles for all.
Validation and evaluation do not count towards the time.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from pyrovae import SVI
from pyrovae.data import Digits
from pyrovae.evidence import ImportanceSampling
from pyrovae.guides import Amortized
from pyrovae.models import VAE
from pyrovae.objective import Objective
from pyrovae.objectives import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    PIWAE,
    TVO,
    VRIWAE,
    Beta,
    FreeBits,
    Renyi,
    VRMax,
    WakeSleep,
)
from pyrovae.sources.batches import Batches
from pyrovae.sources.dataset import DataSet
from pyrovae.storage.files import write_json

K = 16
OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "ELBO, K = 1": ELBO,
    "ELBO, K = 1, analytic KL": lambda: ELBO(analytic_kl=True),
    "ELBO, K = 16, stl": lambda: ELBO(num_particles=K, gradient="stl"),
    "IWAE, K = 16": lambda: IWAE(num_particles=K),
    "IWAE, K = 16, dreg": lambda: IWAE(num_particles=K, gradient="dreg"),
    "IWAE, K = 16, stl (biased)": lambda: IWAE(num_particles=K, gradient="stl"),
    "Renyi 0.5, K = 16": lambda: Renyi(alpha=0.5, num_particles=K),
    "VR-IWAE 0.2, K = 16, dreg": lambda: VRIWAE(alpha=0.2, num_particles=K),
    "VR-max, K = 16": lambda: VRMax(num_particles=K),
    "MIWAE, 4 x 4": lambda: MIWAE(num_particles=K, groups=4),
    "PIWAE, 4 x 4": lambda: PIWAE(num_particles=K, groups=4),
    "CIWAE 0.05, K = 16": lambda: CIWAE(num_particles=K),
    "TVO, K = 16": lambda: TVO(num_particles=K),
    "TVO, K = 16, dreg": lambda: TVO(num_particles=K, gradient="dreg"),
    "wake-sleep, K = 16": lambda: WakeSleep(num_particles=K),
    "ELBO, warm-up": lambda: Beta(warm_up=1000),
    "free bits 0.1": lambda: FreeBits(nats=0.1),
}


def train(data: DataSet, objective: Objective, seed: int, seconds: float) -> tuple[float, int]:
    """Train for some seconds: mean log p(x) of the test rows, in nats, and how many steps were taken."""
    torch.manual_seed(seed)
    model, guide = VAE(data.features, latent=10), Amortized(data.features, 10)
    model.initialise(data.visit(data.train.stored), seed)
    adam = functools.partial(torch.optim.Adam, lr=1e-3, fused=True)
    svi = SVI(model, guide, adam, loss=objective)
    batches, rows = Batches(len(data.train), 100, seed=seed), data.train.stored
    measure, fixed = ImportanceSampling(num_particles=50), data.fixed("validation")
    parameters = [*model.parameters(), *guide.parameters()]
    best, kept = -float("inf"), [p.detach().clone() for p in parameters]
    used = steps = measured = 0.0
    while used < seconds:
        began = time.process_time()
        for index in batches:
            x = data.visit(rows[index], batches.generator())
            svi.step_tensor(x, index=index, size=len(rows))
            steps += 1
        used += time.process_time() - began
        if used >= min(seconds, measured + seconds / 10):
            measured = used
            bound = measure(model, guide, fixed).value.mean().item()
            if bound > best:
                best, kept = bound, [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    test: Tensor = ImportanceSampling(num_particles=1000)(model, guide, data.fixed("test")).value
    return test.mean().item(), int(steps)


class Kept:
    """The runs so far, in a file if there is one: (nats per image, steps) of each seed by objective."""

    def __init__(self, path: Path | None, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self.runs: dict[str, list[tuple[float, int]]] = {}
        if path is not None and path.exists():
            found = json.loads(path.read_text())
            if found["seconds"] != seconds:
                raise SystemExit(
                    f"{path} holds runs of {found['seconds']:g} seconds: take another file"
                )
            self.runs = {name: [tuple(run) for run in runs] for name, runs in found["runs"].items()}

    def has(self, name: str, seed: int) -> bool:
        """Whether the run is there; seeds are taken in their order."""
        return len(self.runs.get(name, ())) > seed

    def add(self, name: str, seed: int, value: float, steps: int) -> None:
        """Keep a run, and write all of them."""
        self.runs.setdefault(name, []).append((value, steps))
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        found = {
            "what": "log p(x) of the digits' test rows, nats per image, and steps, for seeds 0, 1, ...",
            "command": f"python scripts/objectives_on_digits.py --seconds {self.seconds:g}",
            "seconds": self.seconds,
            "versions": {package: version(package) for package in ("pyro-ppl", "torch", "numpy")},
            "runs": self.runs,
        }
        write_json(self.path, found)


def summary(runs: tuple[str, list[tuple[float, int]]]) -> tuple[float, float, str, float]:
    """Mean and its standard error over seeds, nats; name; mean number of steps."""
    values, steps = zip(*runs[1], strict=True)
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return statistics.mean(values), error, runs[0], statistics.mean(steps)


def main() -> None:
    """Train every objective with every seed, and print the table, the best first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of one processor, for each fit"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="objectives by name", choices=OBJECTIVES)
    parser.add_argument("--record", type=Path, help="a JSON file of the runs; those in it are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, kept = Digits(), Kept(options.record, options.seconds)
    for name in options.only or OBJECTIVES:
        for seed in range(options.seeds):
            if not kept.has(name, seed):
                kept.add(name, seed, *train(data, OBJECTIVES[name](), seed, options.seconds))
        print(f"{name}: {', '.join(f'{value:.2f}' for value, _ in kept.runs[name])}", flush=True)
    print(
        f"\n{'objective':28s} {'test log p(x)':>14s} {'s.e.':>6s} {'steps':>8s}   (nats per image)"
    )
    for mean, error, name, steps in sorted(map(summary, kept.runs.items()), reverse=True):
        print(f"{name:28s} {mean:14.2f} {error:6.2f} {steps:8.0f}")


if __name__ == "__main__":
    main()
