"""Engines for other machines: the workers of a Dask or a Ray cluster, started by its own commands.

Workers write the runs' folders themselves, so they must find the output folder under the same path, as on
the shared disk of a cluster. Nothing but the record comes back, and the one who asked writes `results.json`.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from typing import Any

from pyrovae.comparison.engines import Engine, Task, WorkerDiedError

log = logging.getLogger("pyrovae")

START = "`dask worker ADDRESS --nthreads 1 --nworkers N`"
LOST = (
    "the connection to the cluster was lost: finished runs are kept, and the same command goes on"
)
ELSEWHERE = "workers need this version of pyrovae, and the output folder under the same path"


def connect(address: str) -> Engine:
    """The engine for the cluster at an address.

    Args:
        address: of a Dask scheduler, such as ``tcp://10.0.0.1:8786``; or of a Ray cluster, ``ray://...``.

    Raises:
        ImportError: what it needs is not installed.
        OSError: nobody answers there.
        ValueError: workers that would carry out several runs in one process.
    """
    return Ray(address) if address.startswith("ray://") else Dask(address)


class Dask:
    """The workers of a Dask cluster.

    A run whose worker dies is given to another by Dask, which gives it up after the configured number of
    deaths (``distributed.scheduler.allowed-failures``, three by default). As it counts a death against all
    runs that waited at that worker, those given up are tried once more, one at a time.

    Args:
        address: of the scheduler, such as ``tcp://10.0.0.1:8786``.
        patience: seconds to wait for its answer.

    Raises:
        ImportError: Dask is not installed.
        OSError: nobody answers there.
        ValueError: workers that would carry out several runs in one process.
    """

    threads = 1

    def __init__(self, address: str, *, patience: float = 10.0) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise ImportError(
                "--cluster needs Dask, which is not installed: pip install 'pyrovae[cluster]'"
            ) from error
        try:
            self.client = Client(address, timeout=patience, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise OSError(
                f"no Dask scheduler answers at {address!r}: start one with `dask scheduler`, workers with "
                f"{START}, and give the address that it prints"
            ) from error
        threads = list(self.client.nthreads().values())
        if max(threads, default=1) > 1:
            self.client.close()
            raise ValueError(
                f"a worker of the cluster has {max(threads)} threads, and each run needs a process of its "
                f"own, as random states belong to processes: start the workers with {START}"
            )
        self.jobs = max(1, len(threads))

    def results(self, tasks: Mapping[str, Task]) -> Iterator[tuple[str, Any]]:
        """What the calls return, as they end; afterwards the connection is closed."""
        suspects = dict[str, Task]()
        try:
            for name, result in self._together(tasks):
                if isinstance(result, WorkerDiedError):
                    suspects[name] = tasks[name]
                else:
                    yield name, result
            for name, task in suspects.items():
                yield from self._together({name: task})
        finally:
            self.client.close()  # which drops what has not begun

    def _together(self, tasks: Mapping[str, Task]) -> Iterator[tuple[str, Any]]:
        from distributed import KilledWorker

        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        names = {self.client.submit(task, pure=False): name for name, task in tasks.items()}
        for future in list(names):
            future.add_done_callback(ended.put)
        while names:
            future = self._next(ended)
            name = names.pop(future, None)
            if name is None:
                continue  # told twice
            try:
                yield name, future.result()
            except KilledWorker:
                yield name, WorkerDiedError()
            except CancelledError as error:
                raise OSError(LOST) from error
            except (ImportError, OSError, ValueError) as error:
                raise OSError(f"a worker could not begin: {error}; {ELSEWHERE}") from error

    def _next(self, ended: queue.SimpleQueue[Any], seconds: float = 10.0) -> Any:
        """The next that ends; a line while there is nobody to carry anything out."""
        while True:
            try:
                return ended.get(timeout=seconds)
            except queue.Empty:
                if self.client.status not in ("running", "connecting"):
                    raise OSError(LOST) from None
                if self.client.status == "running" and not self.client.nthreads():
                    log.warning("The cluster has no workers; the runs wait for some to be started.")


class Ray:
    """A Ray cluster. A run whose worker dies is tried again by Ray, three times.

    Args:
        address: such as ``ray://10.0.0.1:10001``, or ``ray://auto`` for the cluster of this machine.

    Raises:
        ImportError: Ray is not installed.
        OSError: nobody answers there.
    """

    threads = 1

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError(
                "a ray:// address needs Ray, which is not installed: pip install 'ray[client]'"
            ) from error
        self._ray = ray
        try:
            ray.init("auto" if address == "ray://auto" else address, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise OSError(
                f"no Ray cluster answers at {address!r}: start one with `ray start --head` ({said})"
            ) from error
        self.jobs = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def results(self, tasks: Mapping[str, Task]) -> Iterator[tuple[str, Any]]:
        """What the calls return, as they end; afterwards the connection is closed."""
        ray = self._ray
        call = ray.remote(num_cpus=1, max_retries=3)(_called)
        try:
            names = {call.remote(task): name for name, task in tasks.items()}
            left = list(names)
            while left:
                (ended,), left = ray.wait(left, num_returns=1)
                try:
                    yield names[ended], ray.get(ended)
                except ray.exceptions.WorkerCrashedError:
                    yield names[ended], WorkerDiedError()
                except ray.exceptions.RayTaskError as error:
                    said = str(error.cause or error)
                    raise OSError(f"a worker could not begin: {said}; {ELSEWHERE}") from error
        finally:
            ray.shutdown()


def _called(task: Task) -> Any:
    return task()
