"""A process that times steps of one peer on request, so that peers can take turns.

Reads a number of measurements from each line of its input, makes them, and answers with the seconds per
step of each. A measurement is a few steps: short, so that other work of the machine falls between two.
The first line of its output says how long it took to get ready.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from workloads import WORKLOADS

MODULES = {
    "numpyro": "jax_peers",
    "pythae": "pythae_peers",
    "torch": "torch_peers",
    "pyro": "pyro_peers",
    "ours": "our_peers",
}


def main() -> None:
    """Make the peer, and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", help="module.function, such as pyro.stock")
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("device")
    options = parser.parse_args()
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a peer prints is no answer

    began = time.perf_counter()
    family, _, name = options.peer.partition(".")
    peers = importlib.import_module(MODULES[family])
    workload = replace(WORKLOADS[options.workload], device=options.device)
    run = finished(getattr(peers, name)(workload), family, options.device)
    steps = workload.epoch if name in ("scan", "steps") else workload.block
    for _ in range(5):
        run(steps)
    print(json.dumps({"ready": time.perf_counter() - began}), file=answers, flush=True)
    for line in sys.stdin:
        run(steps)  # what was not used for a while is cold
        times = [measured(run, steps) for _ in range(int(line))]
        print(json.dumps({"seconds": times}), file=answers, flush=True)


def finished(run: Callable[[int], None], family: str, device: str) -> Callable[[int], None]:
    """The same, and not only asked of an accelerator. NumPyro's waits by itself."""
    if device == "cpu" or family == "numpyro":
        return run
    import torch

    def whole(steps: int) -> None:
        run(steps)
        torch.accelerator.synchronize()

    return whole


def measured(run: Callable[[int], None], steps: int) -> float:
    """Seconds per step."""
    began = time.perf_counter()
    run(steps)
    return (time.perf_counter() - began) / steps


if __name__ == "__main__":
    main()
