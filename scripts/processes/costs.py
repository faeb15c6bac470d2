"""What a fit by several processes costs: steps with more rows, memory, messages."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import numpy as np
from fits import SHAPES
from starting import Found, fits


def weak(folder: Path, rounds: int = 4) -> Found:
    """Seconds of a step by one process, and by two with twice the rows; the share that messages take."""
    found: Found = {}
    for name in SHAPES:
        times: dict[int, list[float]] = {1: [], 2: []}
        messages: list[float] = []
        size = 0.0
        for _ in range(rounds):
            for ranks in times:
                fits(ranks, "weak", folder, name, 20 if "K = 50" in name else 60)
                said = json.loads((folder / "weak.json").read_text())
                times[ranks].append(median(each["step"] for each in said["passes"]))
                if ranks == 2:
                    messages.append(median(each["messages"] for each in said["passes"]))
                    size = said["bytes"]
        each = [one / two for one, two in zip(times[1], times[2], strict=True)]
        found[name] = {
            "milliseconds, one process": [1e3 * t for t in times[1]],
            "milliseconds, two processes": [1e3 * t for t in times[2]],
            "of these in messages, waiting included": [1e3 * t for t in messages],
            "bytes of a message": round(size),
            "efficiency": median(each),
            "efficiencies": each,
            "rows of a batch of one process": SHAPES[name][-1],
        }
    return found


def tables(folder: Path) -> Found:
    """Memory of each of four processes beside the plan, and the time of a step, by the number of rows."""
    with (folder / "rows.bin").open("wb") as file:
        for seed in range(10):
            drawn = np.random.default_rng(seed).normal(size=(1_000_000, 4))
            file.write(drawn.astype(np.float32).tobytes())
    found: Found = {}
    for rows in (100_000, 1_000_000, 10_000_000):
        fits(4, "tables", folder, rows, 8192)
        each = [json.loads((folder / f"tables-{rank}.json").read_text()) for rank in range(4)]
        found[f"{rows}"] = {
            key: [of[key] for of in each] if "MiB" in key else each[0][key] for key in each[0]
        }
    return found


def message(folder: Path) -> Found:
    """Seconds of a sum over 2 and 4 processes, by bytes."""
    found: Found = {}
    for ranks in (2, 4):
        fits(ranks, "message", folder)
        found[f"{ranks}"] = json.loads((folder / "message.json").read_text())
    return found
