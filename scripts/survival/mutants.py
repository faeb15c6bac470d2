"""Mistakes planted in a copy of the package, one at a time: the tests must notice each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from figures import Figure

ROOT = Path(__file__).parents[2]
FAILED, INTERRUPTED = 1, 2  # what pytest ends with; a KeyboardInterrupt in a test ends it


@dataclass(frozen=True)
class Mutant:
    """A line of the package, what it is turned into, and the tests that are to notice."""

    what: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = [
    Mutant("the sign of the bound", "training/loop.py",
           "bound = -state.total.item()", "bound = state.total.item()", "tests/test_fit.py"),
    Mutant("a missing log K", "surrogates/bounds.py",
           "return log_weights.logsumexp(dim) - math.log(log_weights.shape[dim])",
           "return log_weights.logsumexp(dim)", "tests/objectives"),
    Mutant("the scale N / B left in the mean of an epoch", "training/feed.py",
           'return self.rows / batch_size if "size" in self.extras else 1.0', "return 1.0",
           "tests/test_fit.py"),
    Mutant("an unsaved random state", "training/fit_state.py",
           'set_random(nested["random"], like)', "pass", "tests/training/test_resume.py"),
    Mutant("an unsaved random state of NumPy", "training/randomness.py",
           "np.random.set_state((str(kind), _words(key).astype(np.uint32), *rest))", "pass",
           "tests/training/test_resume.py"),
    Mutant("unsaved moments", "storage/optimizer_state.py",
           "state[key] = _placed(state.get(key), value)", "pass", "tests/training/test_resume.py"),
    Mutant("an unsaved schedule", "training/fit_state.py",
           'set_schedule(self.scheduler, nested["schedule"])', "pass", "tests/training/test_resume.py"),
    Mutant("an unsaved moving average", "training/svi_state.py",
           "svi.loss.load_state(dict(before))", "pass", "tests/training/test_resume.py"),
    Mutant("an unsaved sum of the epoch", "training/fit_state.py",
           'self.total.copy_(tensors["total"])', "pass", "tests/training/test_resume.py"),
    Mutant("an unsaved place in the data", "training/fit_state.py",
           'self.batches.load_state_dict(nested["batches"])', "pass", "tests/training/test_resume.py"),
    Mutant("best parameters that are not copies", "training/loop.py",
           "state.best_tensors = {k: t.detach().clone() for k, t in state.named().items()}",
           "state.best_tensors = dict(state.named())", "tests/test_fit.py"),
    Mutant("a write that is not atomic", "storage/files.py",
           '        temporary.replace(path)\n        flush_folder(path.parent)\n',
           '        path.write_bytes(content)\n', "tests/storage/test_files.py"),
    Mutant("a manifest written before its tensors", "checkpoint.py",
           'write_atomically(target, content)\n    write_atomically(target.with_suffix(".json"), text)',
           'write_atomically(target.with_suffix(".json"), text)\n    write_atomically(target, content)',
           "tests/test_checkpoint.py"),
    Mutant("a checksum that is not looked at", "checkpoint.py",
           'if hashlib.sha256(content).hexdigest() != manifest["sha256"]:', "if False:",
           "tests/test_checkpoint.py"),
    Mutant("a link that is followed", "storage/files.py",
           'os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)',
           "os.O_RDONLY", "tests/test_checkpoint.py"),
    Mutant("older checkpoints removed first", "training/checkpoint_folder.py",
           'written = self._write(f"step-{step:012d}", tensors, metadata)',
           'self.clear(); written = self._write(f"step-{step:012d}", tensors, metadata)',
           "tests/training/test_checkpoint_folder.py"),
    Mutant("a lock that does not hold", "storage/folder_lock.py",
           "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass",
           "tests/storage/test_folder_lock.py"),
    Mutant("evaluation that trains", "training/validation.py",
           "total += svi.evaluate_loss(some)", "total += svi.step(some)", "tests/test_fit.py"),
    Mutant("validation with noise of its own at every call", "training/validation.py",
           "torch.manual_seed(seed)", "pass", "tests/test_fit.py"),
    Mutant("the guard left out", "training/guard.py",
           "return not self.group.any(not torch.stack(seen).isfinite().all())", "return True",
           "tests/training/test_guard.py"),
    Mutant("a signal that loses the step", "training/interrupts.py",
           "self.received = number", "raise KeyboardInterrupt", "tests/training/test_resume.py"),
    Mutant("the seed of the caller", "training/randomness.py",
           "        set_random(found, device)\n", "        pass\n", "tests/test_fit.py"),
    Mutant("batches in the same order in every pass", "sources/batches.py",
           "generator_from(self.seed, epoch, 0)", "generator_from(self.seed, 0, 0)",
           "tests/sources/test_batches.py"),
    Mutant("another setting that goes unnoticed", "training/resume.py",
           'if differing and resume != "anyway":', "if False:", "tests/training/test_resume.py"),
    Mutant("any class a stranger names", "registry/parts.py",
           "if base and not issubclass(", "if False and not issubclass(", "tests/registry/test_parts.py"),
]  # fmt: skip


def caught(quick: bool) -> list[Figure]:
    """How many mutants the tests notice; the tests pass without them."""
    chosen = MUTANTS[::8] if quick else MUTANTS
    noticed = 0
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "copy"
        shutil.copytree(
            ROOT,
            place,
            ignore=shutil.ignore_patterns(".git", ".venv", "results", "__pycache__", ".*_cache"),
        )
        for mutant in chosen:
            path = place / "pyrovae" / mutant.file
            text = path.read_text()
            if text.count(mutant.old) != 1:
                print(f"    {mutant.what}: its line is found {text.count(mutant.old)} times")
                continue
            path.write_text(text.replace(mutant.old, mutant.new))
            failed = _status(place, mutant.tests) in (FAILED, INTERRUPTED)
            path.write_text(text)
            noticed += failed
            if not failed:
                print(f"    {mutant.what}: not noticed by {mutant.tests}")
        unharmed = sum(_status(place, tests) == 0 for tests in sorted({m.tests for m in chosen}))
    return [
        Figure("planted mistakes caught by the tests", noticed, len(chosen)),
        Figure("  the same tests pass without them", unharmed, len({m.tests for m in chosen})),
    ]


def _status(place: Path, tests: str) -> int:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", tests]
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    return done.returncode
