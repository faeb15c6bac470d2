"""Whether the three levels of `pyrovae.SVI` take the same steps: on the CPU, or on a GPU in one CUDA graph.

    python scripts/check_levels.py --device cuda

Trains every workload of the benchmark from one seed at each level, and compares parameters. Rounding grows
from step to step: in single precision only the first steps can be compared.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

PEERS = Path(__file__).parent / "benchmark_peers"
sys.path.insert(0, str(PEERS))

from data import batches  # noqa: E402
from devices import unfit  # noqa: E402
from programs import training  # noqa: E402
from workloads import WORKLOADS, Workload  # noqa: E402

# Steps, and the largest difference of a tensor in norms of it.
WANTED = {torch.float64: (100, 1e-5), torch.float32: (10, 1e-4)}


def parameters(
    workload: Workload, level: Any, dtype: torch.dtype, steps: int
) -> list[torch.Tensor]:
    """After some steps."""
    svi = training(workload, level, dtype)
    data = [x.to(dtype) for x in batches(workload)]
    torch.manual_seed(workload.seed)
    for n in range(steps):
        svi.step_tensor(data[n % len(data)])
    return [parameter.detach() for parameter in svi.parameters()]


def main() -> int:
    """Compare and print; how many differ by more."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or one of several: cuda:1")
    options = parser.parse_args()
    if message := unfit(options.device):
        parser.error(message)
    failed = 0
    print("largest difference of a parameter from the eager level, in norms of it")
    for (dtype, (steps, wanted)), workload in product(WANTED.items(), WORKLOADS.values()):
        placed = replace(workload, device=options.device)
        eager = parameters(placed, "eager", dtype, steps)
        for level in ("traced", "compiled"):
            pairs = zip(parameters(placed, level, dtype, steps), eager, strict=True)
            gap = max(float((a - b).norm() / b.norm()) for a, b in pairs)
            failed += not gap <= wanted
            print(
                f"  {placed.title:<30}{dtype!s:<15}{steps:>4} steps  {level:<10}{gap:8.1e}"
                f"   (wanted {wanted:.0e}){'' if gap <= wanted else '  TOO MUCH'}"
            )
    return failed


if __name__ == "__main__":
    sys.exit(main())
