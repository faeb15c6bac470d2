"""When making a step faster pays: never so that a run takes more than a tenth longer than without."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Literal

Level = Literal["auto", "eager", "traced", "compiled"]

# Seconds, on the slow side of what was measured on two cores.
LOAD_RECORDER = 1.0
LEAST_RECORDING = 0.3
STEPS_PER_RECORDING = 120  # recording a step takes as long as this many steps in Python
SAVED_BY_RECORDING = 0.4  # of the time of a step in Python, at least
LOAD_COMPILER = 4.0
COMPILING = 12.0
SAVED_BY_COMPILING = 0.3  # of the time of a recorded step, at least
ALLOWED_LOSS = 0.1


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
        cost = max(LEAST_RECORDING, STEPS_PER_RECORDING * step)
        if "torch._dynamo" not in sys.modules:
            cost += LOAD_RECORDER
        return self._pays(kind, cost, step, SAVED_BY_RECORDING)

    def worth_compiling(self, kind: Any) -> bool:
        """Whether steps with arguments of this kind should be compiled now."""
        if self.level != "auto":
            return self.level == "compiled"
        if self.reproducible or kind not in self._played:
            return False
        loaded = "torch._inductor.compile_fx" in sys.modules
        cost = COMPILING + (0.0 if loaded else LOAD_COMPILER)
        return self._pays(kind, cost, self._played[kind], SAVED_BY_COMPILING)

    def _pays(self, kind: Any, cost: float, step: float, saved: float) -> bool:
        if self.steps is None:
            # Nobody knows how long this goes on: what was spent already must make light of the cost.
            return cost <= ALLOWED_LOSS * self._spent[kind]
        to_come = (self.steps - self.taken) * self._calls[kind] / max(self.taken, 1)
        return cost <= saved * to_come * step
