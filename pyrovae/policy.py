"""When making a step faster pays: never so that a run takes more than a tenth longer than without."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

# Seconds, on the slow side of what was measured on two cores.
IMPORT_RECORDER = 1.0
LEAST_RECORDING = 0.3
STEPS_PER_RECORDING = 120  # recording a step takes as long as this many steps in Python
SAVED_BY_RECORDING = 0.5  # of the time of a step in Python
ALLOWED_LOSS = 0.1


class Policy:
    """Decides from the steps taken, and those to come, whether a step is worth recording.

    Args:
        steps: how many steps will be taken in all, if that is known.
    """

    def __init__(self, steps: int | None = None) -> None:
        self.steps = steps
        self.taken = 0
        self.seconds = 0.0  # spent on steps in Python
        self._eager: Counter[Any] = Counter()
        self._fastest: dict[Any, float] = {}

    def took(self, kind: Any, seconds: float) -> None:
        """Note a step in Python with arguments of a kind."""
        self._eager[kind] += 1
        self.seconds += seconds
        self._fastest[kind] = min(seconds, self._fastest.get(kind, seconds))

    def worth_recording(self, kind: Any) -> bool:
        """Whether steps with arguments of this kind should be recorded now."""
        count = self._eager[kind]
        if not count:
            return False
        step = self._fastest[kind]
        cost = max(LEAST_RECORDING, STEPS_PER_RECORDING * step)
        if "torch.fx.experimental.proxy_tensor" not in sys.modules:
            cost += IMPORT_RECORDER
        if self.steps is None:
            # Nobody knows how long this goes on: what was spent already must make light of the cost.
            return cost <= ALLOWED_LOSS * count * step
        to_come = (self.steps - self.taken) * count / max(self.taken, 1)
        return cost <= SAVED_BY_RECORDING * to_come * step
