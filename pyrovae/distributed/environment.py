"""What torchrun says in the environment; needs no torch."""

from __future__ import annotations

import os


def processes() -> int:
    """How many processes were started for one fit."""
    started = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))
    return int(os.environ["WORLD_SIZE"]) if started else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ["RANK"]) if processes() > 1 else 0
