"""What a fit says of itself while it runs: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tqdm import tqdm

from pyrovae.records import RunFolder

PLAIN_SECONDS = 10.0
WRITE_SECONDS = 1.0


class Measurement(NamedTuple):
    """Where a fit is at the end of an epoch. Bounds: nats per datapoint, larger is better."""

    step: int
    epoch: int
    epochs: int
    seconds: float
    train_bound: float
    validation_bound: float

    def bounds(self) -> str:
        """The bounds in words.

        >>> Measurement(10, 1, 5, 0.5, 61.26, float("nan")).bounds()
        'train 61.3'
        """
        words = f"train {self.train_bound:.1f}"
        if math.isfinite(self.validation_bound):
            words += f", validation {self.validation_bound:.1f}"
        return words

    def seconds_left(self) -> float:
        """An estimate of the rest, from the epochs so far."""
        return self.seconds * (self.epochs - self.epoch) / max(self.epoch, 1)


class FitProgress:
    """Shows one fit on standard error, and takes its place away when the fit ends.

    Args:
        show: whether to.
        on_epoch: called with a `Measurement` at the end of every epoch, shown or not.
        epochs: how many there will be at most.
        steps: optimiser steps in an epoch.
        label: what is being fitted.
    """

    def __init__(
        self,
        show: bool,
        on_epoch: Callable[[Measurement], None] | None = None,
        *,
        epochs: int,
        steps: int,
        label: str,
    ) -> None:
        self._file = sys.stderr
        self._on_epoch = on_epoch
        self._label = label
        self._last_line = time.monotonic()
        self._plain = show and not self._file.isatty()
        self._bar: tqdm | None = None
        if show and not self._plain:
            self._bar = tqdm(
                total=epochs * steps,
                desc=label,
                file=self._file,
                leave=False,
                dynamic_ncols=True,
                bar_format="{desc} {percentage:3.0f}%|{bar:30}| {elapsed} < {remaining}{postfix}",
            )

    def __enter__(self) -> FitProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def again(self, measured: Sequence[Measurement]) -> None:
        """Say the epochs of a fit that is taken up again once more, to whoever listens."""
        for measurement in measured:
            if self._on_epoch is not None:
                self._on_epoch(measurement)

    def step(self, count: int = 1) -> None:
        """So many optimiser steps were taken, now or before the fit was taken up again."""
        if self._bar is not None:
            self._bar.update(count)

    def epoch(self, measurement: Measurement) -> None:
        """One epoch was finished."""
        if self._on_epoch is not None:
            self._on_epoch(measurement)
        if self._bar is not None:
            self._bar.set_postfix_str(measurement.bounds(), refresh=False)
        now = time.monotonic()
        if self._plain and now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            tqdm.write(f"{self._label}: {plain(measurement)}", file=self._file)


class MetricsLog:
    """Appends measurements to a run's folder about once a second: a killed run leaves its curve.

    Args:
        folder: of the run, already started; None writes nothing.
    """

    def __init__(self, folder: RunFolder | None) -> None:
        self._folder = folder
        self._waiting: list[dict[str, Any]] = []
        self._written = time.monotonic()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def add(self, at: Measurement) -> None:
        """Write this measurement, now or within a second."""
        row = at._asdict()
        del row["epochs"]
        if not math.isfinite(at.validation_bound):
            row["validation_bound"] = None
        self._waiting.append(row)
        if time.monotonic() - self._written > WRITE_SECONDS:
            self._write()

    def _write(self) -> None:
        if self._folder is not None and self._waiting:
            self._folder.append_metrics(self._waiting)
        self._waiting, self._written = [], time.monotonic()


def plain(at: Measurement) -> str:
    """A line of text for a log.

    >>> plain(Measurement(10, 1, 5, 0.5, 61.26, 60.0))
    'epoch 1 of 5, train 61.3, validation 60.0, about 0:02 left'
    """
    minutes, seconds = divmod(round(at.seconds_left()), 60)
    return f"epoch {at.epoch} of {at.epochs}, {at.bounds()}, about {minutes}:{seconds:02d} left"
