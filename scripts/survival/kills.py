"""Processes that are killed: at any moment, and at every stage of a checkpoint's writing."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from combinations import COMBINATIONS, Combination, same
from figures import Figure

from pyrovae.training.checkpoint_folder import CheckpointFolder

# Killed processes need no disk; one that lives in memory does not wait for a real one.
TMP = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def sigkill(quick: bool) -> list[Figure]:
    """Kill fits at random moments, some of them twice, take them up again, and compare to the bit."""
    chosen = dict(list(COMBINATIONS.items())[:7:3]) if quick else COMBINATIONS
    runs = 2 if quick else 10
    equal, total, interrupted = 0, 0, 0
    moments = random.Random(0)
    for combination in chosen.values():
        with tempfile.TemporaryDirectory(dir=TMP) as name:
            whole = Path(name) / "whole"
            began = time.perf_counter()
            in_a_child(lambda there=whole, of=combination: of.fit(there))
            seconds = time.perf_counter() - began
            for run in range(runs):
                folder = Path(name) / str(run)
                for _ in range(1 + run % 2):
                    killed = in_a_child(
                        lambda there=folder, of=combination: of.fit(there),
                        kill_after=moments.uniform(0.02, seconds),
                    )
                    interrupted += killed
                in_a_child(lambda there=folder, of=combination: of.fit(there))
                total += 1
                equal += same(whole, folder)
    return [
        Figure(
            f"SIGKILL at a random moment ({len(chosen)} combinations), resumed, bit-equal",
            equal,
            total,
        ),
        Figure("  of these, the kill came before the end", interrupted, None),
    ]


def resumed_twice(quick: bool) -> list[Figure]:
    """Resume, save at once, resume again."""
    chosen = list(COMBINATIONS.values())[:7:3] if quick else list(COMBINATIONS.values())
    equal = 0
    for combination in chosen:
        with tempfile.TemporaryDirectory(dir=TMP) as name:
            whole, again = Path(name) / "whole", Path(name) / "again"
            in_a_child(lambda there=whole, of=combination: of.fit(there))
            in_a_child(lambda there=again, of=combination: stopped_at(of, there, 17))
            for _ in range(2):
                in_a_child(lambda there=again, of=combination: stopped_at(of, there, 0))
            in_a_child(lambda there=again, of=combination: of.fit(there))
            equal += same(whole, again)
    return [Figure("resume, save at once, resume again, bit-equal", equal, len(chosen))]


def stages(quick: bool) -> list[Figure]:
    """Kill at every stage of a checkpoint's writing; what remains must load, and lead to the same bits."""
    combination = next(iter(COMBINATIONS.values()))
    with tempfile.TemporaryDirectory(dir=TMP) as name:
        whole = Path(name) / "whole"
        in_a_child(lambda: combination.fit(whole))
        stage, loadable, equal = 0, 0, 0
        while True:
            folder = Path(name) / str(stage)
            # The fourth checkpoint: there are two before it, one to be removed, and a new best one.
            if not in_a_child(lambda at=stage, there=folder: killed_at(combination, there, at)):
                break
            with CheckpointFolder(folder) as checkpoints:
                loadable += checkpoints.newest() is not None
            if not quick or stage % 8 == 0:
                in_a_child(lambda there=folder: combination.fit(there))
                equal += same(whole, folder)
            stage += 1
    resumed = stage if not quick else -(-stage // 8)
    return [
        Figure("killed at every stage of a checkpoint's writing, one remains", loadable, stage),
        Figure("  resumed from what remains, bit-equal", equal, resumed),
    ]


def in_a_child(work: Callable[[], None], kill_after: float | None = None) -> bool:
    """Do work in a process of its own; whether it was killed.

    Raises:
        RuntimeError: it ended in another way than being killed or being done.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except KeyboardInterrupt:
            status = 0
        finally:
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGKILL:
        return True
    if os.WEXITSTATUS(ended):
        raise RuntimeError("a fit failed; see above")
    return False


def stopped_at(combination: Combination, folder: Path, step: int) -> None:
    """Fit until a step, and stop as Ctrl-C does: with a checkpoint."""

    class Stopping:
        received: int | None = None

    def begin(_: Any) -> Stopping:
        return Stopping()

    from pyrovae.training import loop

    found = loop.Trainer.step

    def counted(trainer: Any, index: Any) -> None:
        found(trainer, index)
        if trainer.state.steps > step:
            Stopping.received = signal.SIGINT

    with (
        mock.patch.object(loop.Interrupts, "__enter__", begin),
        mock.patch.object(loop.Trainer, "step", counted),
    ):
        combination.fit(folder)


class Dying:
    """A file that a process writes half of before it is killed, when its turn comes."""

    def __init__(self, file: Any, stage: Callable[[], None]) -> None:
        self._file, self._stage = file, stage

    def __enter__(self) -> Dying:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, content: bytes) -> None:
        """Half, and then the other half."""
        self._stage()
        self._file.write(content[: len(content) // 2])
        self._file.flush()
        self._stage()
        self._file.write(content[len(content) // 2 :])
        self._stage()


def killed_at(combination: Combination, folder: Path, at: int) -> None:
    """Fit, and be killed at one of the stages of writing the fourth checkpoint and removing the second."""
    writes, reached = 0, 0
    original = CheckpointFolder.write

    def stage() -> None:
        nonlocal reached
        if writes == 4:
            reached += 1
            if reached > at:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def staged(*args: Any, **kwargs: Any) -> Any:
            stage()
            result = function(*args, **kwargs)
            stage()
            return result

        return staged

    def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = found(path, mode, *args, **kwargs)
        return Dying(file, stage) if mode == "xb" else file

    def counted(self: CheckpointFolder, *args: Any, **kwargs: Any) -> Path:
        nonlocal writes
        writes += 1
        path = original(self, *args, **kwargs)
        if writes == 4:
            raise KeyboardInterrupt  # there are no more stages
        return path

    found = Path.open
    with (
        mock.patch.object(CheckpointFolder, "write", counted),
        mock.patch.object(Path, "open", opened),
        mock.patch.object(Path, "replace", around(Path.replace)),
        mock.patch.object(Path, "unlink", around(Path.unlink)),
        mock.patch("os.fsync", around(os.fsync)),
    ):
        combination.fit(folder, checkpoint_steps=5)
