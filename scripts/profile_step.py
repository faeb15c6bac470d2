"""Where the time of a training step goes, and how near it is to the arithmetic in it.

    python scripts/profile_step.py --workload large

Prints, for each level of `pyrovae.SVI`, the time of a step; by kind of operation for the recorded one; and
the floor: the matrix products of the step alone, timed one by one, and the memory that Adam must move.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import fx

PEERS = Path(__file__).parent / "benchmark_peers"
sys.path[:0] = [str(PEERS), str(PEERS.parent.parent)]

from data import batches  # noqa: E402
from programs import training  # noqa: E402
from workloads import WORKLOADS, Workload  # noqa: E402

from pyrovae import SVI  # noqa: E402

aten = torch.ops.aten
PRODUCTS = (aten.mm.default, aten.addmm.default, aten.bmm.default)


def milliseconds(run: Callable[[], Any], repeats: int) -> float:
    """Median of single calls."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def trained(workload: Workload, level: Any) -> tuple[SVI, list[torch.Tensor]]:
    """An SVI after a few steps."""
    svi, data = training(workload, level), batches(workload)
    for x in data[:6]:
        svi.step_tensor(x)
    return svi, data


def floor(graph: fx.Graph, repeats: int) -> tuple[float, float]:
    """Milliseconds and operations of the matrix products of a graph, each alone, by the faster library."""
    total, operations = 0.0, 0.0
    onednn = torch.ops.mkldnn._linear_pointwise
    for node in graph.nodes:
        if node.target in PRODUCTS:
            *_, left, right = (argument.meta["val"] for argument in node.all_input_nodes[-2:])
            a = torch.empty_strided(left.shape, left.stride()).normal_()
            b = torch.empty_strided(right.shape, right.stride()).normal_()
            ways = [functools.partial(torch.matmul, a, b)]
            if a.dim() == 2:
                by_rows = a.contiguous()
                ways += [functools.partial(onednn, by_rows, b.t(), None, "none", [], "")]
            total += min(milliseconds(way, repeats) for way in ways)
            operations += 2.0 * left.shape.numel() * right.shape[-1]
    return total, operations


def kinds(svi: SVI, x: torch.Tensor, repeats: int) -> Counter[str]:
    """Milliseconds of a recorded step by kind of operation."""
    found: Counter[str] = Counter()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(repeats):
            svi.step_tensor(x)
    for event in profile.key_averages():
        name = event.key.removeprefix("aten::")
        if name in ("mm", "addmm", "bmm"):
            kind = "matrix products"
        elif "adam" in name or name.startswith("_foreach"):
            kind = "Adam"
        elif "normal" in name or "bernoulli" in name or "rand" in name:
            kind = "random numbers"
        else:
            kind = "all else on tensors"
        found[kind] += event.self_cpu_time_total / 1e3 / repeats  # type: ignore[assignment]
    return found


def memory(parameters: int) -> float:
    """Milliseconds to read parameters, gradients and moments and to write all but the gradients."""
    tensors = [torch.zeros(parameters) for _ in range(4)]

    def move() -> None:
        for tensor in tensors[:3]:
            tensor.add_(tensors[3])

    return milliseconds(move, 50) * 7 / 9  # three times two reads and a write


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", choices=WORKLOADS, default="small")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    workload = WORKLOADS[options.workload]
    print(f"{workload.title}, batch {workload.batch}, {options.threads} thread(s); milliseconds")
    steps = {}
    for level in ("eager", "traced", "compiled"):
        svi, data = trained(workload, level)
        steps[level] = milliseconds(lambda: svi.step_tensor(data[0]), options.repeats)  # noqa: B023
        print(f"  {level:<26}{steps[level]:9.3f}")
        if level == "traced":
            recording = next(iter(svi._capture._known[0][1].values())).recording  # type: ignore[union-attr]
            parts = kinds(svi, data[0], options.repeats)
            for kind, spent in parts.most_common():
                print(f"    {kind:<24}{spent:9.3f}")
            print(f"    {'Python and dispatch':<24}{steps[level] - sum(parts.values()):9.3f}")
    products, operations = floor(recording.graph.graph, options.repeats)
    moved = memory(sum(p.numel() for p in svi.parameters()))
    print("floor")
    print(
        f"  {'matrix products alone':<26}{products:9.3f}   ({operations / products / 1e6:.0f} GFLOP/s)"
    )
    print(f"  {'memory moved by Adam':<26}{moved:9.3f}")
    print(f"  {'compiled / products':<26}{steps['compiled'] / products:9.2f}")


if __name__ == "__main__":
    main()
