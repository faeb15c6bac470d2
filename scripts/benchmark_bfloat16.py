"""Products in bfloat16 against float32: the time of a step, and what it costs in evidence.

    python scripts/benchmark_bfloat16.py --json scripts/results/bfloat16.json

Both precisions start from the same parameters, see the same images in the same order and draw the same noise:
MNIST, binarised anew at every visit, for some passes with a cosine schedule. log p(x) of test images,
binarised once, is estimated in float32 for both. Steps are timed in turns, compiled. ``--part evidence``
and ``--part speed`` do one half, and keep the other half that the file has.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

PEERS = Path(__file__).parent / "benchmark_peers"
sys.path[:0] = [str(PEERS), str(PEERS.parent.parent)]

from data import batches  # noqa: E402
from programs import make, objective  # noqa: E402
from workloads import WORKLOADS, Workload  # noqa: E402

from pyrovae import SVI  # noqa: E402
from pyrovae.data import MNIST  # noqa: E402
from pyrovae.evidence import ImportanceSampling  # noqa: E402
from pyrovae.step.precision import Precision  # noqa: E402
from pyrovae.storage.files import write_json  # noqa: E402

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
PASSES = {"large": 20, "iwae": 6}
TEST = 1000  # images whose evidence is estimated
PARTICLES = 1000


def fits(workload: Workload) -> dict[Precision, tuple[Any, Any, SVI]]:
    """By precision, model, guide and SVI from the same parameters."""
    torch.manual_seed(workload.seed)
    programs = make(workload)
    made: dict[Precision, tuple[Any, Any, SVI]] = {}
    for precision in PRECISIONS:
        model, guide = copy.deepcopy(programs)
        adam = torch.optim.Adam([*model.parameters(), *guide.parameters()], lr=1e-3)
        svi = SVI(model, guide, adam, objective(workload), level="compiled", precision=precision)
        made[precision] = (model, guide, svi)
    return made


def speed(workload: Workload, rounds: int, measurements: int) -> dict[str, float]:
    """Median milliseconds of a step; the precisions take turns."""
    data, made = batches(workload), fits(workload)
    times: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for x in data[:6]:
        for _, _, svi in made.values():
            svi.step_tensor(x)
    for _ in range(rounds):
        for precision, (_, _, svi) in made.items():
            for x in data[:measurements]:
                began = time.perf_counter()
                svi.step_tensor(x)
                times[precision].append(time.perf_counter() - began)
    return {precision: 1e3 * statistics.median(found) for precision, found in times.items()}


def evidence(workload: Workload, passes: int) -> dict[str, Any]:
    """Mean log p(x) of test images by precision, and the mean difference with its standard error."""
    data = MNIST(validation=400)
    test = data.fixed("test")[:TEST]
    found: dict[str, torch.Tensor] = {}
    for precision, (model, guide, svi) in fits(workload).items():
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        assert svi.optimizer is not None  # it was given
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(svi.optimizer, passes)
        for _ in tqdm(range(passes), desc=f"{workload.title}, {precision}", mininterval=10):
            rows = torch.randperm(len(data.train.stored), generator=generator)
            for index in rows.split(workload.batch)[: len(rows) // workload.batch]:
                svi.step_tensor(data.visit(data.train.stored[index], generator))
            schedule.step()
        found[precision] = ImportanceSampling(num_particles=PARTICLES)(model, guide, test).value
    paired = found["bfloat16"] - found["float32"]
    return {
        "passes": passes,
        **{precision: value.mean().item() for precision, value in found.items()},
        "difference": paired.mean().item(),
        "standard error": (paired.std() / len(paired) ** 0.5).item(),
    }


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", action="append", choices=PASSES, help="default: both")
    parser.add_argument("--part", choices=("speed", "evidence"), help="default: both")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--measurements", type=int, default=10, help="in each round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    known = options.json and options.json.exists()
    results: dict[str, Any] = json.loads(options.json.read_text())["results"] if known else {}
    for name in options.workload or PASSES:
        workload, here = WORKLOADS[name], results.setdefault(name, {})
        print(f"{workload.title}, batch {workload.batch}", flush=True)
        if options.part != "evidence":
            times = speed(workload, options.rounds, options.measurements)
            here["milliseconds"] = times | {"threads": options.threads}
            ratio = times["float32"] / times["bfloat16"]
            print("  milliseconds:", ", ".join(f"{p} {t:.2f}" for p, t in times.items()), end="")
            print(f"; {ratio:.2f} times faster (wanted 1.5)")
        if options.part != "speed":
            here["log p"] = came = evidence(workload, PASSES[name])
            print(f"  log p(x) after {came['passes']} passes:", end=" ")
            print(", ".join(f"{p} {came[p]:.2f}" for p in PRECISIONS), end="; ")
            print(f"difference {came['difference']:+.3f} +- {came['standard error']:.3f} nats")
        if options.json:
            told = {
                "what": "a step with products in bfloat16 and in float32, and log p(x) of 1,000 test images",
                "command": "python scripts/benchmark_bfloat16.py",
                "torch": torch.__version__,
                "results": results,
            }
            write_json(options.json, told)


if __name__ == "__main__":
    main()
