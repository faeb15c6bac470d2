"""When making a step faster pays: never so that a run takes more than a tenth longer than without."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Literal

Level = Literal["auto", "eager", "traced", "compiled"]

# Seconds, on the slow side of what was measured on two cores.
LOAD_RECORDER = 1.0
LEAST_RECORDING = 0.3
LOAD_COMPILER = 4.0
COMPILING = 12.0
ALLOWED_LOSS = 0.1

# Of steps that are to give the same bits again, so that no clock is asked: a step of so few rows is
# shortened by half a millisecond at least, which pays for compiling in half of these steps.
MANY_STEPS = 100_000
FEW_ROWS = 512


def loaded(module: str) -> bool:
    """Whether a module need not be loaded any more."""
    return module in sys.modules


def recording_takes(step: float) -> float:
    """Seconds to record a step of so many seconds: its Python is written down, its arithmetic is done."""
    return max(LEAST_RECORDING, 120 * min(step, 5e-3)) + 2 * step


def recording_saves(step: float) -> float:
    """Seconds that a step in Python is shortened by, at least: handlers take milliseconds, not more."""
    return min(0.4 * step, 1.5e-3)


def compiling_saves(step: float) -> float:
    """Seconds that a recorded step is shortened by, at least: calls, and trips through memory."""
    return min(0.3 * step, 0.5e-3 + 0.05 * step)


def settled(level: Level, steps: int, rows: int) -> Level:
    """The level for so many steps, each of so many rows (with particles, rows times particles).

    >>> settled("auto", 50_000, rows=128), settled("auto", 50_000, rows=100 * 64)
    ('auto', 'compiled')
    """
    many = steps * max(1.0, rows / FEW_ROWS) >= MANY_STEPS
    return "compiled" if level == "auto" and many else level


class Policy:
    """Decides from the steps taken, and those to come, whether a step is worth recording or compiling.

    Args:
        level: ``"traced"`` and ``"compiled"`` do not wait.
        steps: how many steps will be taken in all, if that is known.
        reproducible: ``"auto"`` never compiles. A recording gives the bits of the program, so it does not
            matter when it is made; compiled code rounds differently, and a clock would say from when on.
    """

    def __init__(
        self, level: Level = "auto", steps: int | None = None, *, reproducible: bool = False
    ) -> None:
        self.level = level
        self.steps = steps
        self.reproducible = reproducible
        self.taken = 0
        self._calls: Counter[Any] = Counter()
        self._eager: dict[Any, float] = {}
        self._played: dict[Any, float] = {}
        self._spent: Counter[Any] = Counter()

    def took(self, kind: Any, seconds: float) -> None:
        """Note a step in Python with arguments of a kind."""
        self._calls[kind] += 1
        self._spent[kind] += seconds  # type: ignore[assignment]
        self._eager[kind] = min(seconds, self._eager.get(kind, seconds))

    def played(self, kind: Any, seconds: float) -> None:
        """Note a step played from a recording."""
        self._calls[kind] += 1
        self._spent[kind] += seconds  # type: ignore[assignment]
        self._played[kind] = min(seconds, self._played.get(kind, seconds))

    def worth_recording(self, kind: Any) -> bool:
        """Whether steps with arguments of this kind should be recorded now."""
        if self.level != "auto":
            return True
        if kind not in self._eager:
            return False
        step = self._eager[kind]
        cost = recording_takes(step)
        if not loaded("torch._dynamo"):
            cost += LOAD_RECORDER
        return self._pays(kind, cost, recording_saves(step))

    def worth_compiling(self, kind: Any) -> bool:
        """Whether steps with arguments of this kind should be compiled now."""
        if self.level != "auto":
            return self.level == "compiled"
        if self.reproducible or kind not in self._played:
            return False
        cost = COMPILING + (0.0 if loaded("torch._inductor.compile_fx") else LOAD_COMPILER)
        return self._pays(kind, cost, compiling_saves(self._played[kind]))

    def _pays(self, kind: Any, cost: float, saved: float) -> bool:
        if self.steps is None:
            # Nobody knows how long this goes on: what was spent already must make light of the cost.
            return cost <= ALLOWED_LOSS * self._spent[kind]
        to_come = (self.steps - self.taken) * self._calls[kind] / max(self.taken, 1)
        return cost <= saved * to_come
