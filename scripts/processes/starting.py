"""Starts processes that fit together, and looks at what they leave."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATH = os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")])
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATH}
Found = dict[str, Any]


def start(ranks: int, *words: Any) -> subprocess.Popen[str]:
    """So many processes that fit together; one alone is started without torchrun."""
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--standalone"]
    command = [sys.executable, *(torchrun if ranks > 1 else []), *map(str, words)]
    pipe: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=ENVIRONMENT, text=True, **pipe)


def finish(process: subprocess.Popen[str], expected: int | None = 0) -> str:
    """What it said, once it has ended as it should."""
    out, err = process.communicate(timeout=1800)
    if expected is not None and process.returncode != expected:
        raise RuntimeError(f"{process.args} ended with {process.returncode}: {err[-8000:]}")
    return out + err


def fits(ranks: int, *words: Any) -> None:
    """Carry out a part of `fits.py`."""
    finish(start(ranks, HERE / "fits.py", *words))


def command(folder: Path, *words: Any) -> list[Any]:
    """A fit by the command line."""
    return ["-m", "pyrovae", "fit", "--output", folder, *words]


def record(folder: Path) -> Found:
    """Of the one run in a folder."""
    (path,) = folder.glob("runs/*/record.json")
    found: Found = json.loads(path.read_text())
    return found


def checkpoints(folder: Path) -> int:
    """How far the newest checkpoint of a run is, in steps; 0 if there is none."""
    found = [int(p.name.split("-")[1]) for p in folder.glob("runs/*/checkpoints/step-*.json")]
    return max(found, default=0)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun started."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    named = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in listed}
    return sorted(pid for pid, said in named.items() if b"pyrovae" in said)


def until(folder: Path, steps: int, process: subprocess.Popen[str]) -> None:
    """Wait for a checkpoint that far."""
    while checkpoints(folder) < steps:
        if process.poll() is not None:
            raise RuntimeError(
                f"the fit ended before step {steps}: {process.communicate()[1][-2000:]}"
            )
        time.sleep(0.01)


def content(folder: Path) -> str:
    """A digest of the parameters at the end."""
    (run,) = folder.glob("runs/*")
    files = sorted(
        [*run.glob("parameters.safetensors"), *run.glob("rows-parameters-*.safetensors")]
    )
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
