"""A grid of runs on a Dask cluster of two worker processes, one of which is killed on the way.

    python scripts/cluster.py

Starts a scheduler and the workers on this machine's loopback with Dask's own commands, kills a worker as
soon as runs are under way, and compares what comes out with the same grid carried out without a cluster.
Needs the extra ``distributed``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from pyrovae.records import OutputFolder
from pyrovae.running.config import Config, Part
from pyrovae.sweep import compare

SAME = ("test_elbo", "test_log_evidence", "exact_log_evidence", "steps", "parameters")
EPOCHS = 150


def configs() -> list[Config]:
    """Twelve short runs."""
    return [
        Config(
            model=Part("ProbabilisticPCA", {"latent": 4}),
            guide=Part("Amortized", {"hidden": []}),
            objective=Part(objective, {"num_particles": 2}),
            evidence=Part("ImportanceSampling", {"num_particles": 200}),
            fit={"epochs": EPOCHS},
            seed=seed,
        )
        for objective in ("ELBO", "IWAE", "Renyi")
        for seed in range(4)
    ]


class Loopback:
    """A scheduler and two workers, each a process with one thread."""

    def __init__(self, folder: Path) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        found = folder / "scheduler.json"
        place = ["--scheduler-file", str(found)]
        self._start("scheduler", *place, "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        while not (found.exists() and found.read_text().strip().endswith("}")):
            time.sleep(0.1)
        self.address = json.loads(found.read_text())["address"]
        for number in range(2):
            local = ["--local-directory", str(folder / f"worker{number}")]
            self._start("worker", self.address, "--nthreads", "1", "--no-nanny", *local)

    def _start(self, *words: str) -> None:
        command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        one = os.environ | {"OMP_NUM_THREADS": "1"}
        self.processes.append(subprocess.Popen(command, env=one, **quiet))  # type: ignore[call-overload]

    def wait_for_workers(self) -> None:
        """Return when both are there."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)

    def close(self) -> None:
        """End all that is left."""
        for process in self.processes:
            process.kill()
            process.wait()


def kill_when_under_way(victim: subprocess.Popen[bytes], folder: Path, said: list[str]) -> None:
    """Kill a worker when some runs are finished and others under way."""
    while len(list(folder.glob("runs/*/record.json"))) < 3:
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    said.append(f"killed a worker with {len(list(folder.glob('runs/*')))} runs begun")


def main() -> int:
    """Run both grids, print the figures; 0 if all is as it should be."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cluster = Loopback(folder)
        try:
            cluster.wait_for_workers()
            output = OutputFolder.claim(folder / "cluster")
            arguments = (cluster.processes[-1], output.path, said)
            threading.Thread(target=kill_when_under_way, args=arguments, daemon=True).start()
            there = compare(configs(), output, cluster=cluster.address, progress=False)
        finally:
            cluster.close()
        here = compare(configs(), OutputFolder.claim(folder / "serial"), jobs=1, progress=False)
    finished = sum(record["status"] == "finished" for record in there)
    same = sum(all(a[k] == b[k] for k in SAME) for a, b in zip(there, here, strict=True))  # type: ignore[literal-required]
    for line in (*said, f"finished: {finished} of 12", f"equal to the serial ones: {same} of 12"):
        print(line)
    return 0 if said and finished == same == 12 else 1


if __name__ == "__main__":
    sys.exit(main())
