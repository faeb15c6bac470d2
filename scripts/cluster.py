"""A grid of runs on a cluster of two worker processes, one of which is killed on the way.

    python scripts/cluster.py --json scripts/results/cluster.json
    python scripts/cluster.py --engine ray --json scripts/results/cluster.json

Starts two workers on this machine's loopback with Dask's or Ray's own commands, kills one while runs are
under way, and compares what comes out with the same grid carried out one by one in this process. Needs the
extra ``cluster``, or Ray.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from pyrovae.records import OutputFolder, Record
from pyrovae.running.config import Config, Part
from pyrovae.storage.files import read_json, write_json
from pyrovae.sweep import compare

TIMES = {"train_seconds", "evaluate_seconds", "seconds"}


def configs(epochs: int) -> list[Config]:
    """Twelve runs."""
    return [
        Config(
            model=Part("ProbabilisticPCA", {"latent": 4}),
            guide=Part("Amortized", {"hidden": []}),
            objective=Part(objective, {"num_particles": 2}),
            evidence=Part("ImportanceSampling", {"num_particles": 200}),
            fit={"epochs": epochs},
            seed=seed,
        )
        for objective in ("ELBO", "IWAE", "Renyi")
        for seed in range(4)
    ]


@contextmanager
def dask(folder: Path) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    """The address of a scheduler, and what lists its workers: two, each a process with one thread."""
    found = folder / "scheduler.json"
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-m", "dask"]
    one = os.environ | {"OMP_NUM_THREADS": "1"}
    place = ["--scheduler-file", str(found), "--host", "127.0.0.1", "--no-dashboard"]
    begun = [subprocess.Popen([*command, "scheduler", *place, "--port", "0"], env=one, **quiet)]
    try:
        for number in range(2):
            alone = [
                "--nthreads",
                "1",
                "--no-nanny",
                "--local-directory",
                str(folder / str(number)),
            ]
            begun.append(subprocess.Popen([*command, "worker", *place, *alone], env=one, **quiet))
        while not (found.exists() and found.read_text().strip().endswith("}")):
            time.sleep(0.1)
        address = json.loads(found.read_text())["address"]
        from distributed import Client

        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        yield address, lambda: [worker.pid for worker in begun[1:] if worker.poll() is None]
    finally:
        for process in begun:
            process.kill()
            process.wait()


@contextmanager
def ray(folder: Path) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    """The address of a Ray cluster with two processors, and what lists the processes that work there."""
    command = Path(sys.executable).parent / "ray"
    place = ["--head", "--num-cpus=2", "--port=0", "--node-ip-address=127.0.0.1"]
    room = ["--include-dashboard=false", "--object-store-memory=200000000"]
    one = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([command, "start", *place, *room], env=one, check=True, **quiet)
    try:
        yield "ray://auto", _working_for_ray
    finally:
        subprocess.run([command, "stop", "--force"], check=True, **quiet)


def _working_for_ray() -> list[int]:
    """The numbers of the processes that carry out a call; Ray renames a process while it does."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_bytes().startswith(b"ray::_called"):
                found.append(int(path.parent.name))
    return found


def kill_when_under_way(workers: Callable[[], list[int]], runs: Path, said: dict[str, int]) -> None:
    """Kill a worker when some runs are finished and others under way."""
    while len(list(runs.glob("*/record.json"))) < 3:
        time.sleep(0.02)
    while not (working := workers()):
        time.sleep(0.02)
    os.kill(working[0], signal.SIGKILL)
    said["runs finished when the worker was killed"] = len(list(runs.glob("*/record.json")))
    said["runs begun when the worker was killed"] = len(list(runs.glob("*/config.yaml")))


def differing(one: Record, other: Record) -> list[str]:
    """The entries, other than times, in which two records of a run differ."""
    a: dict[str, Any] = dict(one)
    b: dict[str, Any] = dict(other)
    return [
        key for key in sorted(a.keys() | b.keys()) if key not in TIMES and a.get(key) != b.get(key)
    ]


ENGINES = {"dask": dask, "ray": ray}


def main() -> int:
    """Carry out both grids, print the figures; 0 if all is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=ENGINES, default="dask")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # as on the workers
    grid, found = configs(chosen.epochs), dict[str, Any]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ENGINES[chosen.engine](folder) as (address, workers):
            output = OutputFolder.claim(folder / "cluster")
            arguments = (workers, output.path / "runs", found)
            killer = threading.Thread(target=kill_when_under_way, args=arguments)
            killer.start()
            began = time.perf_counter()
            there = compare(grid, output, cluster=address)
            found["seconds on the cluster"] = round(time.perf_counter() - began, 1)
            killer.join()
        began = time.perf_counter()
        here = compare(grid, OutputFolder.claim(folder / "serial"), jobs=1, progress=False)
        found["seconds one by one"] = round(time.perf_counter() - began, 1)
    found["runs"] = len(grid)
    found["finished"] = sum(record["status"] == "finished" for record in there)
    others = [differing(a, b) for a, b in zip(there, here, strict=True)]
    found["equal to the serial ones"] = sum(not names for names in others)
    found["entries that differ"] = sorted({name for names in others for name in names})
    packages = ("torch", "pyro-ppl", chosen.engine)
    found["versions"] = {"python": platform.python_version()} | {p: version(p) for p in packages}
    found["command"] = (
        f"python scripts/cluster.py --engine {chosen.engine} --epochs {chosen.epochs}"
    )
    for key, value in found.items():
        print(f"{key}: {value}")
    if chosen.json:
        kept = read_json(chosen.json) if chosen.json.exists() else {}
        write_json(chosen.json, kept | {chosen.engine: found})
    return 0 if found["finished"] == found["equal to the serial ones"] == len(grid) else 1


if __name__ == "__main__":
    sys.exit(main())
