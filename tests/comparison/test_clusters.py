import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial

import pytest

from pyrovae.comparison.clusters import Dask, connect
from pyrovae.comparison.engines import WorkerDiedError
from pyrovae.records import OutputFolder
from pyrovae.running.config import Config, Part
from pyrovae.sweep import compare

SAME = ("test_elbo", "test_elbo_se", "test_log_evidence", "exact_log_evidence", "steps", "status")
RUNS = [
    Config(
        model=Part("ProbabilisticPCA", {"latent": 2}),
        guide=Part("ExactPosterior"),
        evidence=Part("ImportanceSampling", {"num_particles": 2}),
        fit={"epochs": 1, "batch_size": 600},
        evaluate={"elbo_particles": 2},
        seed=seed,
    ).complete()
    for seed in range(4)
]


class Loopback:
    """A Dask scheduler on this machine that gives a call up with the first worker that dies of it."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        found = folder / "scheduler.json"
        place = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        self.start("scheduler", "--scheduler-file", str(found), *place)
        until = time.monotonic() + 60
        while not (found.exists() and found.read_text().strip().endswith("}")):
            assert time.monotonic() < until
            time.sleep(0.1)
        self.address = json.loads(found.read_text())["address"]

    def start(self, *words):
        command = [sys.executable, "-m", "dask", *words]
        given = {"OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
        own = {"start_new_session": True}  # to be ended with its children
        with (self.folder / f"log{len(self.processes)}").open("w") as log:
            made = subprocess.Popen(command, env=os.environ | given, stdout=log, stderr=log, **own)
        self.processes.append(made)
        return made

    def worker(self, *words):
        threads = () if "--nthreads" in words else ("--nthreads", "1")
        local = ("--local-directory", str(self.folder / f"worker{len(self.processes)}"))
        quiet = ("--no-dashboard", "--host", "127.0.0.1")
        return self.start("worker", self.address, *threads, *local, *quiet, *words)

    def end(self):
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def loopback(tmp_path):
    made = Loopback(tmp_path)
    yield made
    made.end()


def test_a_killed_worker_has_its_runs_done_by_another(loopback, tmp_path):
    victim, _ = loopback.worker("--no-nanny"), loopback.worker("--no-nanny")
    output = OutputFolder.claim(tmp_path / "there")

    def kill():
        while not list(output.path.glob("runs/*/record.json")):
            time.sleep(0.02)
        victim.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    there = compare(RUNS, output, cluster=loopback.address, progress=False)
    killer.join()
    here = compare(RUNS, OutputFolder.claim(tmp_path / "here"), jobs=1, progress=False)
    assert [[r[key] for key in SAME] for r in there] == [[r[key] for key in SAME] for r in here]
    written = [output.run(c.run_name).path / "record.json" for c in RUNS]
    when = [path.stat().st_mtime_ns for path in written]
    assert compare(RUNS, output, cluster=loopback.address, progress=False) == there
    assert [path.stat().st_mtime_ns for path in written] == when  # finished runs are not repeated


@pytest.fixture
def never_without_workers(loopback):
    """Starts a worker again where Dask's own nanny gave up doing so, as it does on a starved machine."""
    workers, over = [loopback.worker()], threading.Event()

    def watch():
        while not over.wait(1.0):
            if workers[-1].poll() is not None:
                workers.append(loopback.worker())

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield loopback
    over.set()
    watcher.join()


def test_a_call_that_kills_every_worker_is_given_up_and_no_other(never_without_workers):
    loopback = never_without_workers
    engine = Dask(loopback.address, patience=60)
    engine.client.wait_for_workers(1, timeout=60)
    tasks = {"good": partial(int, "7"), "deadly": partial(os._exit, 9), "better": partial(int, "8")}
    found = dict(engine.results(tasks))
    assert isinstance(found.pop("deadly"), WorkerDiedError)
    assert found == {"good": 7, "better": 8}


def test_workers_with_several_threads_are_refused(loopback):
    loopback.worker("--no-nanny", "--nthreads", "2")
    from distributed import Client

    with Client(loopback.address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)
    with pytest.raises(ValueError, match="has 2 threads.*--nthreads 1"):
        connect(loopback.address)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "127.0.0.1:9", "nonsense://x"])
def test_nobody_at_the_address_is_one_sentence(address):
    with pytest.raises(OSError, match="no Dask scheduler answers at .*start one with `dask sched"):
        Dask(address, patience=0.5)


def test_ray_that_is_not_installed_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"needs Ray.*pip install 'ray\[client\]'"):
        connect("ray://10.0.0.1:10001")


def test_jobs_are_not_for_a_cluster(tmp_path):
    with pytest.raises(TypeError, match="jobs is for this machine"):
        compare([], OutputFolder.claim(tmp_path), jobs=2, cluster="tcp://10.0.0.1:8786")
