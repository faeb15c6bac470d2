"""What carries out the runs of a comparison, and the engine for this machine's cores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import joblib
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

Task = partial[Any]  # a call that a process elsewhere can make


class WorkerDiedError(RuntimeError):
    """The process of a run ended before the run did."""

    def __init__(self) -> None:
        super().__init__("the process of this run died, perhaps for want of memory")


class Engine(Protocol):
    """Carries out calls in other processes.

    Attributes:
        jobs: calls at a time.
        threads: of each.
    """

    jobs: int
    threads: int

    def results(self, tasks: Mapping[str, Task]) -> Iterator[tuple[str, Any]]:
        """What the calls return, as they end, by name; a `WorkerDiedError` where a process died of one."""
        ...


class ThisMachine:
    """Processes on this machine's cores, between which its threads are divided.

    When a worker dies, joblib ends all of them, and every run that had begun is suspected of it. The others
    go on together, and each suspect is then run alone: one that dies again was to blame.

    Args:
        jobs: runs at a time.
        runs: how many there are in all, finished ones too: a run that was stopped goes on with the threads
            that it began with, as it must for the same bits.
        begun: whether the run of this name has begun since a moment.
    """

    def __init__(self, jobs: int, runs: int, begun: Callable[[str, float], bool]) -> None:
        self.jobs = jobs
        self.threads = max(1, joblib.cpu_count() // max(1, min(jobs, runs)))
        self._begun = begun

    def results(self, tasks: Mapping[str, Task]) -> Iterator[tuple[str, Any]]:
        """What the calls return, as they end."""
        left, suspects = dict(tasks), dict[str, Task]()
        while left:
            began = time.time()
            try:
                for name, result in self._together(left, self.jobs):
                    left.pop(name)
                    yield name, result
            except TerminatedWorkerError:
                started = [name for name in left if self._begun(name, began)] or list(left)
                suspects |= {name: left.pop(name) for name in started}
        for name, task in suspects.items():
            try:
                # Two jobs, or joblib would carry it out in this process, which would die of it.
                yield from self._together({name: task}, 2)
            except TerminatedWorkerError:
                yield name, WorkerDiedError()

    def _together(self, tasks: Mapping[str, Task], jobs: int) -> Iterator[tuple[str, Any]]:
        calls = [joblib.delayed(_named)(name, task) for name, task in tasks.items()]
        try:
            with joblib.parallel_config(backend="loky", inner_max_num_threads=self.threads):
                yield from joblib.Parallel(
                    n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=jobs
                )(calls)
        except (KeyboardInterrupt, GeneratorExit):
            get_reusable_executor().shutdown(wait=True, kill_workers=True)
            raise


def _named(name: str, task: Task) -> tuple[str, Any]:
    return name, task()
