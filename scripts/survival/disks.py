"""Two writers, a full disk, a folder that cannot be written, files that may not grow."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any
from unittest import mock

from combinations import COMBINATIONS, equal_states, same, state
from figures import Figure
from kills import TMP, in_a_child, stopped_at

from pyrovae.cli import main
from pyrovae.storage.folder_lock import FolderInUseError, FolderLock

STEP = 17


def starved(quick: bool) -> list[Figure]:
    """Each fault at a checkpoint: one sentence, the one before it intact, and the fit goes on afterwards."""
    faults = dict(_FAULTS)
    if os.getuid() == 0 and not quick:
        faults |= _REAL_FAULTS
    combination = next(iter(COMBINATIONS.values()))
    said = intact = equal = 0
    for fault in faults.values():
        with tempfile.TemporaryDirectory(dir=TMP) as name:
            whole, folder = Path(name) / "whole", Path(name) / "fit"
            in_a_child(lambda there=whole: combination.fit(there))
            with fault(Path(name)) as (path, broken):
                folder = path or folder
                in_a_child(lambda there=folder: stopped_at(combination, there, STEP))
                before = state(folder)
                with broken():
                    sentence = _sentence(lambda there=folder: combination.fit(there))
                said += "not be written" in sentence and "\n" not in sentence
                intact += equal_states(state(folder), before)
                in_a_child(lambda there=folder: combination.fit(there))
                equal += same(whole, folder)
    return [
        Figure("full disk, read-only folder, size limit: one sentence", said, len(faults)),
        Figure("  the checkpoint before it is intact", intact, len(faults)),
        Figure("  the fit goes on once there is room, bit-equal", equal, len(faults)),
    ]


def two_writers(quick: bool) -> list[Figure]:
    """A second writer in a folder, from this process and another, by library and command line."""
    combination = next(iter(COMBINATIONS.values()))
    refused = 0
    with tempfile.TemporaryDirectory(dir=TMP) as name:
        folder = Path(name) / "fit"
        folder.mkdir()
        with FolderLock(folder):
            for attempt in (
                lambda: combination.fit(folder),
                lambda: in_a_child(lambda: _expect_refusal(lambda: combination.fit(folder))),
            ):
                try:
                    refused += attempt() is False
                except FolderInUseError as error:
                    refused += str(os.getpid()) in str(error)
        output = Path(name) / "out"
        words = ["fit", "--quiet", f"--output={output}", *SMALL]
        held = Path(_run_folder(words, output))
        with FolderLock(held):
            refused += _second_command(words)
        after = _second_command(words) == 0
    return [
        Figure("a second writer is refused", refused, 3),
        Figure("  and let in when the first is gone", int(after), 1),
    ]


SMALL = [
    "--model.latent=2",
    "--model.hidden=[4]",
    "--guide.hidden=[4]",
    "--fit.epochs=1",
    "--fit.batch_size=600",
    "--evidence.num_particles=4",
    "--evaluate.elbo_particles=2",
    "--evaluate.refit_steps=2",
]


def _run_folder(words: list[str], output: Path) -> Path:
    """Where a run will write, made beforehand."""
    from pyrovae.commands.arguments import fit as read

    folder = output / "runs" / read(words[1:])[0].run_name
    folder.mkdir(parents=True)
    (output / "pyrovae.json").write_text("{}")
    return folder


def _second_command(words: list[str]) -> bool:
    """Whether the command line refuses, in one line."""
    said = io.StringIO()
    with redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = main(words)
    line = said.getvalue().strip()
    return status == 2 and "is being written by process" in line and "\n" not in line


def _expect_refusal(work: Callable[[], None]) -> None:
    try:
        work()
    except FolderInUseError:
        return
    raise RuntimeError("a second writer was let in")


def _sentence(work: Callable[[], None]) -> str:
    try:
        work()
    except OSError as error:
        return error.strerror or str(error)
    return "nothing went wrong"


Fault = Callable[[Path], contextlib.AbstractContextManager[Any]]


def _failing(function: str, number: int, *, after: int) -> Fault:
    """A system call that fails from its n-th call in a checkpoint."""

    @contextlib.contextmanager
    def broken() -> Iterator[None]:
        calls = 0
        original = getattr(os, function)

        def fails(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            if function == "open" and not args[1] & os.O_CREAT:
                return original(*args, **kwargs)
            calls += 1
            if calls > after:
                raise OSError(number, os.strerror(number))
            return original(*args, **kwargs)

        with mock.patch.object(os, function, fails):
            yield

    @contextlib.contextmanager
    def fault(_: Path) -> Iterator[Any]:
        yield None, broken

    return fault


@contextlib.contextmanager
def _size_limit(_: Path) -> Iterator[Any]:
    @contextlib.contextmanager
    def limited() -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    yield None, limited


@contextlib.contextmanager
def _mounted(path: Path) -> Iterator[Path]:
    place = path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@contextlib.contextmanager
def _full(path: Path) -> Iterator[Any]:
    with _mounted(path) as disk:

        @contextlib.contextmanager
        def filled() -> Iterator[None]:
            filler = disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            yield
            filler.unlink()

        yield disk / "fit", filled


@contextlib.contextmanager
def _read_only(path: Path) -> Iterator[Any]:
    with _mounted(path) as disk:

        @contextlib.contextmanager
        def remounted() -> Iterator[None]:
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            yield
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)

        yield disk / "fit", remounted


_FAULTS: dict[str, Fault] = {
    f"{function} fails with {errno.errorcode[number]} after {after}": _failing(
        function, number, after=after
    )
    for function, number, after in (
        ("fsync", errno.ENOSPC, 0),
        ("fsync", errno.ENOSPC, 2),
        ("fsync", errno.EDQUOT, 2),
        ("fsync", errno.EIO, 0),
        ("replace", errno.ENOSPC, 0),
        ("replace", errno.ENOSPC, 1),
        ("replace", errno.EROFS, 1),
    )
} | {"files of at most 2,000 bytes": _size_limit}
_REAL_FAULTS: dict[str, Fault] = {
    "a full disk": _full,
    "a disk that is read-only by now": _read_only,
}


def deterministic(quick: bool) -> list[Figure]:
    """The same run in other processes: the same bytes; another seed: others; this process: untouched."""
    code = (
        "import sys, random, numpy, torch; from pyrovae.cli import main\n"
        "state = lambda: (torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(),"
        " random.getstate())\n"
        "import importlib.util as u; u.find_spec('rich') and __import__('rich.style')\n"
        "before = state(); status = main(sys.argv[1:]); sys.exit(status or 3 * (state() != before))"
    )
    runs: list[dict[str, bytes]] = []
    with tempfile.TemporaryDirectory(dir=TMP) as name:
        began = time.perf_counter()
        for seed, hashes in (("0", "1"), ("0", "2"), ("1", "1")):
            output = Path(name) / f"{seed}-{hashes}"
            words = ["fit", "--quiet", f"--output={output}", f"--seed={seed}", *SMALL]
            environment = {**os.environ, "PYTHONHASHSEED": hashes}
            subprocess.run(
                [sys.executable, "-c", code, *words],
                check=True,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            (run,) = (output / "runs").iterdir()
            metrics = (run / "metrics.csv").read_text().splitlines()
            runs.append(
                {
                    "parameters": (run / "parameters.safetensors").read_bytes(),
                    "arrays": (run / "arrays.npz").read_bytes(),
                    "configuration": (run / "config.yaml").read_bytes(),
                    "metrics": repr(
                        [line.split(",")[:2] + line.split(",")[3:] for line in metrics]
                    ).encode(),
                }
            )
        seconds = time.perf_counter() - began
    one, again, other = runs
    equal = sum(one[key] == again[key] for key in one)
    differs = sum(one[key] != other[key] for key in one)
    return [
        Figure(
            "another process, same seed: files with the same bytes",
            equal,
            len(one),
            f"{seconds:.0f} s",
        ),
        Figure("another seed: files that differ", differs, len(one)),
        Figure("random states of the caller left as they were", 3, 3),
    ]
