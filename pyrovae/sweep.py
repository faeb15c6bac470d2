"""Many runs on this machine's cores or on a cluster, and what becomes of those that fail.

A run whose folder holds a finished record of the very same configuration is not repeated, and one that
was stopped goes on from its last checkpoint. One that fails, or whose worker dies, is recorded as failed
and stops no other.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial

import joblib
import torch

from pyrovae.comparison import clusters
from pyrovae.comparison.engines import Engine, ThisMachine, WorkerDiedError
from pyrovae.comparison.grid_progress import GridProgress, began_since
from pyrovae.experiment import run
from pyrovae.records import OutputFolder, Record, RunFolder
from pyrovae.registry.notes import Notes
from pyrovae.registry.plain import whole_number
from pyrovae.running.config import Config
from pyrovae.running.finished import finished as still_finished
from pyrovae.running.run_record import failure
from pyrovae.storage.folder_lock import FolderInUseError, FolderLock
from pyrovae.training.resume import Keeping, ResumeError

log = logging.getLogger("pyrovae")

# Random states, and where warnings go, belong to a process: a worker with several threads makes runs wait.
ONE_AT_A_TIME = threading.Lock()


def compare(
    configs: Iterable[Config],
    output: OutputFolder,
    *,
    jobs: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> list[Record]:
    """Carry out runs, each in a process of its own, and write `results.json`.

    Args:
        configs: what to run.
        output: where to; finished runs that lie there are used again.
        jobs: how many runs at a time; by default one for each core. The threads are divided between them.
        cluster: address of a Dask scheduler, or of a Ray cluster (``ray://...``), whose workers carry out the
            runs in place of this machine. They must find the output folder under the same path.
        progress: show the whole and each fit on standard error.

    Returns:
        One record for each configuration, in the same order; failed runs have the status "failed".

    Raises:
        ValueError: `jobs` below 1, or a cluster whose workers have several threads.
        TypeError: both `jobs` and `cluster`.
        OSError: no cluster answers at the address.
        ImportError: what the cluster needs is not installed.
        KeyboardInterrupt: what was finished is in the output folder.
    """
    if jobs is not None and cluster is not None:
        raise TypeError(
            "jobs is for this machine: a cluster carries out as many runs at a time as it has workers"
        )
    jobs = joblib.cpu_count() if jobs is None else jobs
    whole_number("jobs", jobs, least=1)
    asked = [config.complete() for config in configs]
    runs = {config.run_name: config for config in asked}  # what is asked for twice is run once
    records = {name: found for name, c in runs.items() if (found := finished(c, output))}
    waiting = {name: config for name, config in runs.items() if name not in records}
    with FolderLock(output.path):
        workers: Engine = (
            ThisMachine(jobs, len(runs), partial(began_since, output))
            if cluster is None
            else clusters.connect(cluster)
        )
        try:
            with GridProgress(
                list(runs), waiting, output, jobs=workers.jobs, show=progress
            ) as shown:
                for record, said in _carry_out(waiting, output, workers):
                    records[record["name"]] = record
                    shown.done(record, said)
        finally:
            output.write_results([records[name] for name in runs if name in records])
    return [records[config.run_name] for config in asked]


def finished(config: Config, output: OutputFolder) -> Record | None:
    """The record of this very configuration, if it was run to its end in that folder and can be read."""
    with suppress(ValueError):
        return still_finished(output.run(config.run_name), config)
    return None


def _carry_out(
    waiting: Mapping[str, Config], output: OutputFolder, workers: Engine
) -> Iterator[tuple[Record, list[str]]]:
    """The records of the runs as they end, in any order."""
    path, here = str(output.path.absolute()), (socket.gethostname(), os.getpid())
    tasks = {
        name: partial(_worker, config.to_yaml(), path, workers.threads, here, sys.path)
        for name, config in waiting.items()
    }
    for name, result in workers.results(tasks):
        if isinstance(result, WorkerDiedError):
            yield _record_failure(waiting[name], output, result), []
        else:
            yield result


def _worker(
    yaml: str, path: str, threads: int, parent: tuple[str, int], search: list[str]
) -> tuple[Record, list[str]]:
    """One run, and what was said during it; whatever goes wrong is recorded.

    It has a process of its own unless there is one job only.
    """
    if (socket.gethostname(), os.getpid()) != parent:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
        torch.set_num_threads(threads)
        logging.getLogger("pyro").setLevel(logging.WARNING)
        sys.path += [folder for folder in search if folder not in sys.path]
    config, output = Config.from_yaml(yaml), OutputFolder.open(path)
    with ONE_AT_A_TIME, Notes() as notes:
        try:
            record = _begin_or_go_on(config, output.run(config.run_name))
        except Exception as error:
            record = _record_failure(config, output, error)
    return record, notes.said


def _begin_or_go_on(config: Config, folder: RunFolder) -> Record:
    """One run, from its last checkpoint if an earlier attempt left one that leads to the same bits.

    Or the record that there is: a cluster repeats a run whose worker died before its record was fetched.
    """
    if (record := still_finished(folder, config)) is not None:
        return record
    if folder.stopped(config.to_yaml()):
        try:
            return run(config, folder, progress=False, keeping=Keeping(resume=True))
        except ResumeError as error:
            log.warning("%s begins anew: %s", folder.name, error)
    return run(config, folder, progress=False)


def _record_failure(config: Config, output: OutputFolder, error: BaseException) -> Record:
    folder = output.run(config.run_name)
    if isinstance(error, FolderInUseError):
        return failure(config, folder.name, error)  # the record is for the one who writes there
    try:
        record = folder.record()
    except ValueError as unreadable:  # a person may want to look at it
        return failure(config, folder.name, unreadable)
    if record["status"] == "failed":
        return record
    folder.start(config.to_yaml(), resume=folder.stopped(config.to_yaml()))
    folder.write_record(failure(config, folder.name, error))
    return folder.record()
