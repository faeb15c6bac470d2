"""Fits over data larger than memory: memory, speed, and the rows seen after a kill.

    python scripts/streaming.py --json scripts/results/streaming.json

``memory``: one pass over a file of 20 GiB, made sparse with random rows at 200 places, in a process of its
own; its largest resident set. ``speed``: steps a second of the same rows from files, a tenth of them in
memory at a time, and from memory, in turns. ``kills``: fits over files are ended by SIGKILL at random moments
and taken up again; the rows of every step, and the parameters at the end, against those of a fit that was
left alone.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import platform
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from pyrovae import fit, guides, models
from pyrovae.data import Array, Streamed
from pyrovae.storage.files import write_json

WIDTH = 784
SEED = 0


class Logged(models.VAE):
    """A model that notes a digest of each batch it is trained on."""

    log: Any = None

    def forward(self, x: torch.Tensor, index: Any = None, size: Any = None) -> Any:
        """As its model."""
        if self.log is not None and self.training and torch.is_grad_enabled():
            self.log.write(hashlib.sha256(x.numpy().tobytes()).hexdigest()[:16] + "\n")
        return super().forward(x, index, size)


def train(data: Any, batch: int, epochs: int, **options: Any) -> tuple[Any, Any]:
    """Fit a small VAE; the model and what was measured."""
    torch.manual_seed(SEED)
    model = Logged(WIDTH, latent=4, hidden=(32,), likelihood="bernoulli")
    model.log = options.pop("log", None)
    guide = guides.Amortized(WIDTH, 4, hidden=(32,))
    adam = functools.partial(torch.optim.Adam, lr=1e-3)
    common = {"batch_size": batch, "epochs": epochs, "seed": SEED, "progress": False}
    return model, fit(model, guide, data, optim=adam, **common, **options)


def sparse(path: Path, gibibytes: float) -> None:
    """A .npy file of zeros that takes no room, but for random rows at 200 places."""
    rows = int(gibibytes * 2**30) // (4 * WIDTH)
    np.lib.format.open_memmap(path, "w+", np.float32, (rows, WIDTH))
    offset = path.stat().st_size - rows * 4 * WIDTH
    generator = np.random.default_rng(SEED)
    with path.open("r+b") as file:
        for row in np.linspace(0, rows - 1000, 200, dtype=np.int64):
            file.seek(offset + int(row) * 4 * WIDTH)
            file.write(generator.integers(0, 2, (1000, WIDTH)).astype(np.float32).tobytes())


def resident(field: str) -> float:
    """GiB of this process, as the system says."""
    line = next(
        s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(field)
    )
    return round(int(line.split()[1]) / 2**20, 3)


def pass_over(path: str, batch: str) -> None:
    """One pass over a file; what it took is printed."""
    before = resident("VmRSS")
    data = Streamed(path)
    began = time.perf_counter()
    _, history = train(data, int(batch), 1)
    seconds, steps = time.perf_counter() - began, int(history.step[-1])
    found = {
        "GiB of the file": round(os.path.getsize(path) / 2**30, 3),
        "GiB of the file on the disk": round(os.stat(path).st_blocks * 512 / 2**30, 3),
        "rows": len(data.train) + len(data.validation) + len(data.test),
        "rows of a batch": int(batch),
        "steps": steps,
        "seconds": round(seconds, 1),
        "steps a second": round(steps / seconds, 2),
        "GiB resident before the data": before,
        "GiB resident at the end (VmRSS)": resident("VmRSS"),
        "GiB resident at most (VmHWM)": resident("VmHWM"),
        "GiB resident at most (getrusage)": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3
        ),
        "bound at the end": round(float(history.train_bound[-1]), 3),
    }
    print(json.dumps(found))


def child(*words: str, **options: Any) -> subprocess.Popen[str]:
    """A process of this script."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def memory(folder: Path, gibibytes: float, batch: int) -> dict[str, Any]:
    """Of one pass over a large file."""
    sparse(folder / "large.npy", gibibytes)
    said, _ = child("pass_over", str(folder / "large.npy"), str(batch)).communicate()
    (folder / "large.npy").unlink()
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def rows_of(folder: Path, count: int) -> Path:
    """A folder of three files of random rows."""
    folder.mkdir()
    generator = np.random.default_rng(SEED)
    for number in range(3):
        made = generator.integers(0, 2, (count // 3, WIDTH), dtype=np.uint8)
        np.save(folder / f"{number}.npy", made)
    return folder


def speed(folder: Path, rounds: int) -> dict[str, Any]:
    """Steps a second from files and from memory, in turns."""
    path = rows_of(folder / "rows", 60_000)
    tenth = 60_000 * WIDTH // 10 // 2**20
    streamed = Streamed(path, "binary", memory=tenth)
    rows = np.concatenate([np.load(file) for file in sorted(path.iterdir())])
    share = 1000 / len(rows)
    whole = Array(rows, "binary", split=(1 - 2 * share, share, share))
    train(whole, 128, 1)  # so that no one is the first
    times: dict[str, list[float]] = {"from files": [], "from memory": []}
    for _ in range(rounds):
        for name, data in (("from files", streamed), ("from memory", whole)):
            began = time.perf_counter()
            _, history = train(data, 128, 2)
            times[name].append(int(history.step[-1]) / (time.perf_counter() - began))
    found: dict[str, Any] = {
        f"steps a second {name}": round(statistics.median(t), 1) for name, t in times.items()
    }
    ratios = [a / b for a, b in zip(times["from files"], times["from memory"], strict=True)]
    found["ratio"] = round(statistics.median(ratios), 3)
    return found | {"ratios": [round(ratio, 3) for ratio in ratios], "rows of a batch": 128}


def logged_fit(path: str, run: str) -> None:
    """A fit that notes its batches and its parameters at the end."""
    data = Streamed(path, "binary", memory=1)
    with Path(run + ".log").open("a", buffering=1) as log:
        options: dict[str, Any] = {"run_dir": run, "resume": True, "checkpoint_steps": 50}
        # As the programs are: a step that is recorded would not call the model again.
        model, history = train(data, 64, 2, log=log, level="eager", **options)
    content = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    said = {"parameters": hashlib.sha256(content).hexdigest(), "steps": int(history.step[-1])}
    print(json.dumps(said))


def kills(folder: Path, trials: int) -> dict[str, Any]:
    """Fits that are killed and taken up again, against one that is not."""
    path = str(rows_of(folder / "few", 30_000))
    said, _ = child("logged_fit", path, str(folder / "whole")).communicate()
    expected = json.loads(said.splitlines()[-1])
    steps, logged = expected["steps"], (folder / "whole.log").read_text().split()
    probes, whole = len(logged) - steps, logged[len(logged) - steps :]
    moments, chance = [], random.Random(SEED)
    same_rows = same_parameters = 0
    for trial in range(trials):
        run, until = folder / f"run{trial}", chance.randrange(60, steps)
        log = Path(f"{run}.log")
        first = child("logged_fit", path, str(run))
        while first.poll() is None and (not log.exists() or log.read_text().count("\n") < until):
            time.sleep(0.001)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        before = log.read_text().split()
        said, _ = child("logged_fit", path, str(run)).communicate()
        after = log.read_text().split()[len(before) :]
        before = before[probes:]
        moments.append(len(before))
        # Some steps are taken and undone before a fit goes on; what follows them must be the end of a
        # pass, from the last checkpoint or earlier.
        end = max(
            n
            for n in range(min(len(after), steps) + 1)
            if after[len(after) - n :] == whole[steps - n :]
        )
        same_rows += before == whole[: len(before)] and len(before) + end >= steps
        same_parameters += json.loads(said.splitlines()[-1]) == expected
    return {
        "kills": trials,
        "batches seen before each": moments,
        "steps of a fit": steps,
        "same rows in the same order": same_rows,
        "same parameters to the bit": same_parameters,
    }


def main() -> int:
    """Measure, print, save; 0 if all is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--gibibytes", type=float, default=20.0)
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where to; a temporary one by default")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.child:
        {"pass_over": pass_over, "logged_fit": logged_fit}[chosen.child[0]](*chosen.child[1:])
        return 0
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        found["kills"] = kills(folder, chosen.kills)
        found["speed"] = speed(folder, chosen.rounds)
        found["memory"] = memory(folder, chosen.gibibytes, chosen.batch)
    for part, numbers in found.items():
        print(part, *(f"  {key}: {value}" for key, value in numbers.items()), sep="\n")
    packages = ("torch", "pyro-ppl", "numpy")
    found["versions"] = {"python": platform.python_version()} | {p: version(p) for p in packages}
    found |= {"seed": SEED, "threads": 1}
    found["command"] = (
        f"python scripts/streaming.py --gibibytes {chosen.gibibytes:g} --batch {chosen.batch} --rounds "
        f"{chosen.rounds} --kills {chosen.kills}"
    )
    if chosen.json:
        write_json(chosen.json, found)
    counts = found["kills"]
    right = counts["same rows in the same order"] == counts["same parameters to the bit"]
    small = found["memory"]["GiB resident at most (getrusage)"] < 2
    return 0 if right and counts["kills"] == counts["same parameters to the bit"] and small else 1


if __name__ == "__main__":
    sys.exit(main())
