"""Times a training step against peers, which take turns in one run: medians, and ratios of medians.

    python scripts/benchmark.py                     # everything there is an environment for
    python scripts/benchmark.py --workload small --rounds 5 --json times.json
    python scripts/benchmark.py --device cuda       # on a GPU

Peers that need packages of the extra ``benchmark`` (NumPyro, pythae) are left out where those are missing.
JAX may live in an environment of its own: ``--jax-python PATH``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pyrovae.storage.files import write_json

PEERS = Path(__file__).parent / "benchmark_peers"
sys.path.insert(0, str(PEERS))

from devices import unfit  # noqa: E402
from workloads import WORKLOADS, Workload  # noqa: E402

PAUSE = (
    0.4  # seconds: OpenMP's threads go on spinning for 0.2 after the last step of the peer before
)
OURS = ("ours.steps", "ours.compiled", "ours.traced", "ours.eager")
OTHERS = (
    "pyro.stock",
    "pyro.loop",
    "pyro.jit",
    "torch.eager",
    "torch.compiled",
    "numpyro.step",
    "numpyro.scan",
    "pythae.trainer",
)


def applies(peer: str, workload: Workload) -> bool:
    """Whether a peer has this workload."""
    if peer == "pyro.loop":
        return 1 < workload.particles <= 20
    if peer == "pyro.jit":
        return workload.particles == 1
    if peer == "pythae.trainer":  # its Gaussian decoder has no variance of its own
        return workload.likelihood == "bernoulli"
    return True


class Worker:
    """A process that takes steps on request."""

    def __init__(self, python: str, peer: str, workload: str, threads: int, device: str) -> None:
        self.peer = peer
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "JAX_PLATFORMS": device.partition(":")[0],
        }
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(PEERS), str(PEERS.parent.parent), os.environ.get("PYTHONPATH", "")]
        )
        self.process = subprocess.Popen(
            [python, str(PEERS / "worker.py"), peer, workload, device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if not os.environ.get("BENCHMARK_SHOW_ERRORS") else None,
            text=True,
            env=environment,
        )
        self.times: list[float] = []
        self.turns: list[float] = []  # medians
        self.ready: float | None = self._answer("ready")

    def _answer(self, name: str) -> Any:
        line = self.process.stdout.readline() if self.process.stdout else ""
        return json.loads(line)[name] if line else None

    def run(self, measurements: int) -> None:
        """Take steps, and note the seconds of one."""
        if self.process.stdin:
            self.process.stdin.write(f"{measurements}\n")
            self.process.stdin.flush()
        self.times += self._answer("seconds") or []
        self.turns.append(statistics.median(self.times[-measurements:]))

    def close(self) -> str:
        """End the process; the last line of what went wrong, if anything did."""
        if self.process.stdin:
            self.process.stdin.close()
        errors = self.process.stderr.read().strip() if self.process.stderr else ""
        self.process.wait()
        return errors.splitlines()[-1] if errors and not self.times else ""


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Times of one workload: milliseconds per step by peer."""
    workload = WORKLOADS[name]
    peers = [p for p in (*OURS, *OTHERS) if applies(p, workload) and _wanted(p, options)]
    workers = []
    for peer in peers:
        python = options.jax_python if peer.startswith("numpyro") else sys.executable
        workers.append(Worker(python, peer, name, options.threads, options.device))
    for _ in range(options.rounds):
        for worker in workers:
            if worker.ready is not None:
                time.sleep(PAUSE)
                worker.run(options.measurements)
    result = {}
    for worker in workers:
        error = worker.close()
        if worker.times:
            times = sorted(1e3 * t for t in worker.times)
            result[worker.peer] = {
                "median_ms": statistics.median(times),
                "fastest_ms": times[0],
                "turns_ms": [1e3 * t for t in worker.turns],
                "measurements": len(times),
                "ready_s": worker.ready,
            }
        else:
            print(f"  {worker.peer}: left out ({error})", file=sys.stderr)
    return result


def _wanted(peer: str, options: argparse.Namespace) -> bool:
    return not options.peer or any(peer.startswith(wanted) for wanted in options.peer)


def by_turns(ours: dict[str, Any], row: dict[str, Any]) -> float:
    """The median of the ratios within each round: a machine that slows down for seconds slows both."""
    pairs = zip(ours.get("turns_ms", []), row.get("turns_ms", []), strict=False)
    return statistics.median([a / b for a, b in pairs] or [float("nan")])


def table(results: dict[str, dict[str, Any]]) -> str:
    """Milliseconds per step, and how many times as long ours takes compiled."""
    lines = []
    for name, peers in results.items():
        lines.append(f"{WORKLOADS[name].title} (batch {WORKLOADS[name].batch})")
        lines.append(
            f"  {'':<16}{'median ms':>10}{'fastest ms':>12}{'ours / it':>11}{'by turns':>10}{'ready s':>9}"
        )
        ours = peers.get("ours.compiled") or peers.get("ours.traced")
        for peer, row in peers.items():
            ratio = f"{ours['median_ms'] / row['median_ms']:.2f}" if ours else ""
            turns = f"{by_turns(ours, row):.2f}" if ours else ""
            lines.append(
                f"  {peer:<16}{row['median_ms']:>10.3f}{row['fastest_ms']:>12.3f}{ratio:>11}"
                f"{turns:>10}{row['ready_s']:>9.1f}"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="default: all")
    parser.add_argument("--peer", action="append", help="the start of a peer's name; default: all")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each peer")
    parser.add_argument("--measurements", type=int, default=10, help="in each turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or one of several: cuda:1")
    parser.add_argument("--jax-python", default=sys.executable, help="an interpreter with NumPyro")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    options = parser.parse_args()
    if message := unfit(options.device):
        parser.error(message)
    results = {name: measure(name, options) for name in options.workload or WORKLOADS}
    print(table(results))
    if options.json:
        write(options.json, results, options.threads, options.device)


def write(path: Path, results: dict[str, dict[str, Any]], threads: int, device: str) -> None:
    """Write the numbers; other workloads that a file of the same machine holds are kept."""
    machine = {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "threads": threads,
        "versions": {name: version(name) for name in ("torch", "pyro-ppl")},
    }
    if device != "cpu":
        machine["device"] = torch.cuda.get_device_name(device)
    before = json.loads(path.read_text()) if path.exists() else {}
    kept = before.get("results", {}) if before.get("machine") == machine else {}
    found = {
        "what": "milliseconds of a training step by workload and peer; ratios of medians are what counts",
        "command": "python scripts/benchmark.py",
        "machine": machine,
        "results": kept | results,
    }
    write_json(path, found)


if __name__ == "__main__":
    main()
