"""How a fit went: what was measured, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyrovae.training.progress import Measurement


@dataclass(frozen=True)
class History:
    """How a fit went. Bounds are nats per datapoint, larger is better; one entry per epoch.

    Args:
        step: (E,) optimiser steps so far.
        epoch: (E,) passes over the data so far.
        seconds: (E,) wall clock since training began.
        train_bound: (E,) mean of the bound over the epoch's batches, while the parameters moved.
        validation_bound: (E,) the objective's bound on the validation rows; NaN where not measured.
        parameters: count of trained numbers, in model and guide.
        best_epoch: the epoch whose parameters were kept; the last one if nothing was validated.
        stopped_early: whether ``patience`` ran out.
    """

    step: NDArray[np.int64]
    epoch: NDArray[np.int64]
    seconds: NDArray[np.float64]
    train_bound: NDArray[np.float64]
    validation_bound: NDArray[np.float64]
    parameters: int
    best_epoch: int
    stopped_early: bool

    @classmethod
    def of(
        cls, measured: Sequence[Measurement], parameters: int, best_epoch: int, stopped_early: bool
    ) -> History:
        """From one measurement for each epoch."""
        columns = map(np.asarray, zip(*measured, strict=True))
        step, epoch, _, seconds, train_bound, validation_bound = columns
        bounds = (train_bound, validation_bound)
        return cls(step, epoch, seconds, *bounds, parameters, best_epoch, stopped_early)
