"""Many runs on this machine's cores, and what becomes of those that fail.

A run whose folder holds a finished record of the very same configuration is not repeated, and one that
was stopped goes on from its last checkpoint. One that fails, or whose worker dies, is recorded as failed
and stops no other.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

import joblib
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from pyrovae.comparison.grid_progress import GridProgress
from pyrovae.experiment import run
from pyrovae.records import OutputFolder, Record, RunFolder
from pyrovae.registry.notes import Notes
from pyrovae.running.config import Config
from pyrovae.running.run_record import failure
from pyrovae.storage.folder_lock import FolderInUseError, FolderLock
from pyrovae.training.resume import Keeping, ResumeError


def compare(
    configs: Iterable[Config],
    output: OutputFolder,
    *,
    jobs: int | None = None,
    progress: bool = True,
) -> list[Record]:
    """Carry out runs, each in a process of its own, and write `results.json`.

    Args:
        configs: what to run.
        output: where to; finished runs that lie there are used again.
        jobs: how many runs at a time; by default one for each core. The threads are divided between them.
        progress: show the whole and each fit on standard error.

    Returns:
        One record for each configuration, in the same order; failed runs have the status "failed".

    Raises:
        ValueError: `jobs` below 1.
        KeyboardInterrupt: what was finished is in the output folder.
    """
    cores = joblib.cpu_count()
    jobs = cores if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"jobs must be a whole number of at least 1; got {jobs!r}")
    runs = {config.run_name: config.complete() for config in configs}
    records = {name: found for name, c in runs.items() if (found := finished(c, output))}
    waiting = {name: config for name, config in runs.items() if name not in records}
    threads = max(1, cores // max(1, min(jobs, len(waiting))))
    with FolderLock(output.path):
        try:
            with GridProgress(list(runs), waiting, output, jobs=jobs, show=progress) as shown:
                for record, said in _carry_out(waiting, output, jobs, threads):
                    records[record["name"]] = record
                    shown.done(record, said)
        finally:
            output.write_results([records[name] for name in runs if name in records])
    return [records[name] for name in runs]


def finished(config: Config, output: OutputFolder) -> Record | None:
    """The record of this very configuration, if it was run to its end in that folder."""
    return output.run(config.run_name).finished(config.to_yaml())


def _carry_out(
    waiting: Mapping[str, Config], output: OutputFolder, jobs: int, threads: int
) -> Iterator[tuple[Record, list[str]]]:
    """The records of the runs as they end, in any order.

    When a worker dies, every run that had begun is suspected of it. The others go on together, and
    each suspect is then run alone: one that dies again was to blame.
    """
    left, suspects = dict(waiting), dict[str, Config]()
    while left:
        began = time.time()
        try:
            for record, said in _together(left, output, jobs, threads):
                left.pop(record["name"])
                yield record, said
        except TerminatedWorkerError:
            started = [name for name in left if _began_since(output.run(name), began)] or list(left)
            suspects |= {name: left.pop(name) for name in started}
    for name, config in suspects.items():
        try:
            yield from _together({name: config}, output, 2, threads)
        except TerminatedWorkerError as error:
            yield _record_failure(config, output, error), []


def _together(
    configs: Mapping[str, Config], output: OutputFolder, jobs: int, threads: int
) -> Iterator[tuple[Record, list[str]]]:
    """The records of runs that are carried out at the same time, as they end."""
    calls = [
        joblib.delayed(_worker)(config.to_yaml(), str(output.path), threads, os.getpid(), sys.path)
        for config in configs.values()
    ]
    try:
        with joblib.parallel_config(backend="loky", inner_max_num_threads=threads):
            yield from joblib.Parallel(
                n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=jobs
            )(calls)
    except (KeyboardInterrupt, GeneratorExit):
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
        raise


def _began_since(folder: RunFolder, moment: float) -> bool:
    begun = folder.path / "config.yaml"
    return begun.is_file() and begun.stat().st_mtime >= moment - 1.0


def _worker(
    yaml: str, path: str, threads: int, parent: int, search: list[str]
) -> tuple[Record, list[str]]:
    """One run, and what was said during it; whatever goes wrong is recorded.

    It has a process of its own unless there is one job only.
    """
    if os.getpid() != parent:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
        torch.set_num_threads(threads)
        logging.getLogger("pyro").setLevel(logging.WARNING)
        sys.path += [folder for folder in search if folder not in sys.path]
    config, output = Config.from_yaml(yaml), OutputFolder.open(path)
    with Notes() as notes:
        try:
            record = _begin_or_go_on(config, output.run(config.run_name))
        except Exception as error:
            record = _record_failure(config, output, error)
    return record, notes.said


def _begin_or_go_on(config: Config, folder: RunFolder) -> Record:
    """One run, from its last checkpoint if an earlier attempt left one that leads to the same bits."""
    if folder.has_checkpoints and folder.config() == config.to_yaml():
        with suppress(ResumeError):
            return run(config, folder, progress=False, keeping=Keeping(resume=True))
    return run(config, folder, progress=False)


def _record_failure(config: Config, output: OutputFolder, error: BaseException) -> Record:
    folder = output.run(config.run_name)
    if isinstance(error, FolderInUseError):
        return failure(config, folder.name, error)  # the record is for the one who writes there
    if folder.record()["status"] != "failed":
        if isinstance(error, TerminatedWorkerError):
            error = RuntimeError("the process of this run died, perhaps for want of memory")
        folder.start(config.to_yaml())
        folder.write_record(failure(config, folder.name, error))
    return folder.record()
