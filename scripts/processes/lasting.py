"""Does a fit by several processes go on after they were ended, by as many or others."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from starting import (
    Found,
    checkpoints,
    children,
    command,
    content,
    finish,
    record,
    start,
    until,
)

FIT = ("--guide", "PerDatapoint", "--fit.epochs", 150, "--checkpoint_steps", 40)


def resume(folder: Path) -> Found:
    """Log evidence of fits begun by two processes, ended by SIGTERM, and finished by one, two and four."""
    found: Found = {}
    for ranks in (1, 2, 4):
        here = folder / str(ranks)
        first = start(2, *command(here, *FIT))
        until(here, 500, first)
        first.terminate()
        finish(first, None)
        at = checkpoints(here)
        (run,) = here.glob("runs/*")
        again = ["-m", "pyrovae", "fit", "--resume", run] if ranks == 1 else command(here, *FIT)
        said = finish(start(ranks, *again))
        done = record(here)
        found[f"2 to {ranks}"] = {
            "from step": at,
            "to step": done["steps"],
            "status": done["status"],
            "log evidence": done["test_log_evidence"],
            "said": [line for line in said.splitlines() if "Processes of" in line],
        }
    return found


def kills(folder: Path, trials: int = 20) -> Found:
    """One process of two is killed; the other ends with a sentence; the same command finishes the fit."""
    finish(start(2, *command(folder / "whole", *FIT)))
    right, steps = content(folder / "whole"), record(folder / "whole")["steps"]
    chance, found = random.Random(0), []
    for trial in range(trials):
        here = folder / f"trial{trial}"
        first = start(2, *command(here, *FIT))
        until(here, chance.randrange(40, steps - 100), first)
        time.sleep(chance.random() * 0.3)
        victim = chance.randrange(2)
        alive = children(first)
        if len(alive) == 2:
            os.kill(alive[victim], signal.SIGKILL)
        said = finish(first, None)
        at = checkpoints(here)
        finish(start(2, *command(here, *FIT)))
        found.append(
            {
                "victim": victim,
                "step of the last checkpoint": at,
                "sentence": "processes of this fit is gone" in said,
                "finished": record(here)["status"] == "finished",
                "same bits as the fit that was left alone": content(here) == right,
            }
        )
    counts = {key: sum(t[key] for t in found) for key, v in found[0].items() if type(v) is bool}
    return {"trials": len(found), **counts, "each": found}
