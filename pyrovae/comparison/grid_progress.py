"""What a comparison says of itself while it runs: the whole, and each fit that is under way.

It looks at what the runs write, so it does not matter in which process, or on which machine, they are.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from pyrovae.records import OutputFolder, Record
from pyrovae.running.config import Config
from pyrovae.running.run_record import label
from pyrovae.training.progress import Measurement, plain

REFRESH_SECONDS = 0.5
PLAIN_SECONDS = 15.0
# The share of a run's time that fitting takes; the rest is scoring the test rows.
FITTING = 0.8


class GridProgress:
    """Shows many runs on standard error: bars in a terminal, lines elsewhere.

    Args:
        names: all runs.
        waiting: those that are to be carried out now, by name.
        output: where they write.
        jobs: how many run at a time.
        show: whether to show anything.
    """

    def __init__(
        self,
        names: Sequence[str],
        waiting: Mapping[str, Config],
        output: OutputFolder,
        *,
        jobs: int,
        show: bool = True,
    ) -> None:
        self._file = sys.stderr
        self._show = show
        self._bars = show and self._file.isatty()
        self._total = len(names)
        self._reused = len(names) - len(waiting)
        self._left = dict(waiting)
        self._jobs = jobs
        self._output = output
        self._began = time.time()
        self._said = time.monotonic()
        self._heard: set[str] = set()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        lines = min(jobs, len(waiting)) if self._bars else 0
        self._whole = self._bar(0, "{desc} {percentage:3.0f}%|{bar:40}| {elapsed} < {remaining}")
        self._fits = [self._bar(1 + i, "  {desc}") for i in range(lines)]
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> GridProgress:
        if self._reused:
            self._say(
                f"{self._reused} of {self._total} runs were finished before and are used again."
            )
        if self._left and self._show:
            count = len(self._left)
            at_once = f", {min(self._jobs, count)} at a time" if count > 1 else ""
            self._say(
                f"{count} {'run' if count == 1 else 'runs'} to do{at_once}, in {self._output.path}"
            )
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for bar in [*reversed(self._fits), self._whole]:
            bar.close()

    def done(self, record: Record, said: Sequence[str] = ()) -> None:
        """A run ended, and this was said during it; what was said before is not said again."""
        with self._lock:
            for line in said:
                if line not in self._heard:
                    self._heard.add(line)
                    self._say(line)
            self._left.pop(record["name"], None)
            count = f"[{self._total - len(self._left)}/{self._total}]"
            self._say(f"{count} {outcome(record)}")
        self._draw()

    def _bar(self, position: int, form: str) -> tqdm:
        return tqdm(
            total=max(self._total - self._reused, 1),
            position=position,
            bar_format=form,
            disable=not self._bars,
            file=self._file,
            leave=False,
            dynamic_ncols=True,
        )

    def _watch(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            under_way = self._under_way()
            if self._bars:
                self._draw_bars(under_way)
            elif time.monotonic() - self._said > PLAIN_SECONDS:
                for name, at in under_way.items():
                    self._say(f"  {describe(self._left[name])}: {_line(at)}")

    def _draw_bars(self, under_way: Mapping[str, Measurement | None]) -> None:
        done = self._total - self._reused - len(self._left)
        parts = sum(FITTING * at.epoch / at.epochs for at in under_way.values() if at)
        self._whole.n = round(done + parts, 3)
        finished = self._total - len(self._left)
        self._whole.set_description_str(f"{finished} of {self._total} runs", refresh=True)
        lines = [
            f"{describe(self._left[name])}: {_line(at)}" for name, at in sorted(under_way.items())
        ]
        for bar, line in zip(self._fits, lines + [""] * len(self._fits), strict=False):
            bar.set_description_str(line, refresh=True)

    def _under_way(self) -> dict[str, Measurement | None]:
        """The runs that have started and not ended, and where they are."""
        found: dict[str, Measurement | None] = {}
        for name, config in self._left.items():
            if began_since(self._output, name, self._began):
                rows = self._output.run(name).metrics()
                last = {key: column[-1] for key, column in rows.items() if len(column)}
                found[name] = _measurement(last, int(config.fit["epochs"])) if last else None
        return found

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        if self._show:
            tqdm.write(line, file=self._file)


def began_since(output: OutputFolder, name: str, moment: float) -> bool:
    """Whether the run of this name has begun since a moment, by its file and the clock of its disk."""
    begun = output.run(name).path / "config.yaml"
    return begun.is_file() and begun.stat().st_mtime >= moment - 1.0


def describe(config: Config) -> str:
    """A run in a few words."""
    return f"{label(config)}, seed {config.seed}"


def outcome(record: Record) -> str:
    """How a run ended, in a line."""
    parts = " + ".join(
        str(record.get(key)).rpartition(".")[2] for key in ("model", "guide", "objective")
    )
    head = f"{parts}, seed {record.get('seed')}"
    if record["status"] != "finished":
        return f"{head}: FAILED: {record.get('error')}"
    values: dict[str, Any] = dict(record)
    elbo, evidence, seconds = (
        math.nan if values.get(key) is None else float(values[key])
        for key in ("test_elbo", "test_log_evidence", "train_seconds")
    )
    return (
        f"{head}: log evidence {evidence:.2f}, ELBO {elbo:.2f} nats per datapoint, {seconds:.0f} s"
    )


def _line(at: Measurement | None) -> str:
    if at is None:
        return "starting"
    return "scoring the test rows" if at.epoch >= at.epochs else plain(at)


def _measurement(last: Mapping[str, float], epochs: int) -> Measurement:
    return Measurement(
        step=int(last["step"]),
        epoch=int(last["epoch"]),
        epochs=epochs,
        seconds=last["seconds"],
        train_bound=last["train_bound"],
        validation_bound=last["validation_bound"],
    )
