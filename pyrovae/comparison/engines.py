"""Where the runs of a comparison are carried out: on this machine's cores, or on a Dask cluster."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol

import joblib
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError


class Engine(Protocol):
    """What joblib is to use. A context: what it holds is let go at the end.

    Attributes:
        jobs: runs at a time.
        threads: of each run.
        died: what is raised where the process of a run died more than once.
    """

    jobs: int
    threads: int
    died: type[Exception]

    def __enter__(self) -> Engine: ...

    def __exit__(self, *error: Any) -> None: ...

    def chosen(self) -> AbstractContextManager[Any]:
        """A context in which joblib uses this engine."""
        ...

    def stop(self) -> None:
        """End what is running."""
        ...


class ThisMachine:
    """Processes on this machine's cores, between which its threads are divided.

    Args:
        jobs: runs at a time.
        runs: how many there are to be.
    """

    died: type[Exception] = TerminatedWorkerError

    def __init__(self, jobs: int, runs: int) -> None:
        self.jobs = jobs
        self.threads = max(1, joblib.cpu_count() // max(1, min(jobs, runs)))

    def __enter__(self) -> ThisMachine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held."""

    def chosen(self) -> AbstractContextManager[Any]:
        """A context in which joblib uses this engine."""
        context: AbstractContextManager[Any] = joblib.parallel_config(
            backend="loky", inner_max_num_threads=self.threads
        )
        return context

    def stop(self) -> None:
        """End what is running."""
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


class DaskCluster:
    """The workers of a Dask cluster, which reach the output folder under the same path.

    A run whose worker dies is given to another by Dask itself, and goes on from its last checkpoint.

    Args:
        address: of the scheduler, such as ``tcp://10.0.0.1:8786``.

    Raises:
        ImportError: Dask is not installed.
        OSError: nobody answers there.
        ValueError: the cluster has no workers, or workers that would carry out several runs in one process.
    """

    def __init__(self, address: str, *, patience: float = 10.0) -> None:
        try:
            from distributed import Client, KilledWorker
        except ImportError as error:
            raise ImportError(
                "a cluster needs Dask, which is not installed: pip install 'pyrovae[distributed]'"
            ) from error
        self.died: type[Exception] = KilledWorker
        try:
            self.client = Client(address, timeout=patience, set_as_default=False)
        except (OSError, ValueError) as error:
            raise OSError(
                f"no Dask scheduler answers at {address!r} ({error}): start one with `dask scheduler`, and "
                "give the address that it prints"
            ) from error
        threads = list(self.client.nthreads().values())
        if not threads or max(threads) > 1:
            found = f"some with {max(threads)} threads" if threads else "none"
            self.client.close()
            raise ValueError(
                "each run needs a worker process of its own, since random states and thread counts belong to "
                f"a process; the cluster's workers: {found}. Start them with `dask worker {address} "
                "--nthreads 1 --nworkers N`"
            )
        self.jobs, self.threads = len(threads), 1

    def __enter__(self) -> DaskCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()

    def chosen(self) -> AbstractContextManager[Any]:
        """A context in which joblib uses this engine."""
        context: AbstractContextManager[Any] = joblib.parallel_config(
            backend="dask", client=self.client
        )
        return context

    def stop(self) -> None:
        """Nothing: what was not begun is dropped with the client, what runs ends by itself."""
