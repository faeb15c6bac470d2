"""The loop of a fit: steps, epochs, validation, and the best parameters so far."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pyrovae.checkpoint import put_back
from pyrovae.training.checkpoint_folder import CheckpointFolder
from pyrovae.training.feed import Feed
from pyrovae.training.fit_state import FitState
from pyrovae.training.guard import Guard
from pyrovae.training.history import History
from pyrovae.training.interrupts import Interrupted, Interrupts
from pyrovae.training.optimizer import next_rate
from pyrovae.training.processes import Processes
from pyrovae.training.progress import FitProgress, Measurement
from pyrovae.training.validation import validation_bound


@dataclass
class Trainer:
    """Takes a fit from where it is to its end. Made by `pyrovae.fit`.

    Args:
        state: where the fit is.
        source: of its batches.
        epochs, patience, validate_every: as in `pyrovae.fit`.
        folder: where checkpoints go, or None.
        setting: what a checkpoint says of the circumstances.
        processes: what this one does as one of several, or alone.
    """

    state: FitState
    source: Feed
    epochs: int
    patience: int | None
    validate_every: int
    folder: CheckpointFolder | None
    setting: Mapping[str, Any]
    processes: Processes

    def run(self, shown: FitProgress) -> History:
        """Train to the end, or until patience runs out, and put the best parameters back."""
        state = self.state
        if state.over:
            self.restore_best()
            return self.history()
        self.began = time.perf_counter() - state.seconds
        group, tables = self.processes.group, self.processes.tables
        self.guard = Guard(state, self.source, self.step, self.close_again, group, tables)
        self.processes.begin(state)
        self.guard.keep()
        with Interrupts(self.folder is not None, patient=group.many) as interrupts:
            while not state.over:
                try:
                    self.train(shown, interrupts)
                    bound = self.validate() if self.validates_now() else math.nan
                except FloatingPointError:
                    self.write()
                    raise
                self.close_epoch(bound, shown)
            self.write()
            self.refuse_to_go_on(interrupts)
        self.restore_best()
        return self.history()

    def validates_now(self) -> bool:
        """Whether the validation rows are looked at in this epoch."""
        epoch = len(self.state.measured) + 1
        return epoch % self.validate_every == 0 or epoch == self.epochs

    def step(self, index: Tensor) -> None:
        """One step with rows of these numbers; the loss stays on the device."""
        state = self.state
        own, generator, counts = self.processes.turn(state, self.source, index)
        state.note(index, self.source.any_missing(index))
        x, extras = self.source.batch(own, generator)
        loss = state.svi.step_tensor(x, **extras)
        if counts:
            state.total.add_(loss.detach() / self.source.scale(len(own)))
        state.steps += 1

    def train(self, shown: FitProgress, interrupts: Interrupts) -> None:
        """What is left of a pass. Losses add up on the device, which is seldom waited for."""
        state = self.state
        for tensor in state.named().values():
            tensor.grad = None  # of someone's own `backward`, before the fit or after an epoch
        for index in state.batches:
            self.processes.say(interrupts, self.due)
            try:
                self.step(index)
            except (RuntimeError, ValueError) as error:
                self.guard.find(error)
            self.guard.look()
            shown.step()
            if self.processes.hear(interrupts, self.due) and self.folder is not None:
                self.guard.check()
                self.write()
                self.refuse_to_go_on(interrupts)
        epoch = len(state.measured) + 1
        last = self.patience is not None and epoch - state.best_epoch >= self.patience
        self.processes.group.sum(state.total)
        self.guard.epoch_ends(last or epoch == self.epochs)

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self.folder is not None and self.folder.due(self.state.steps)

    def close_epoch(self, validation_bound: float, shown: FitProgress) -> None:
        """Note the bounds, keep the parameters if they are the best, and move the learning rate on."""
        state = self.state
        seconds = time.perf_counter() - self.began
        bound = -state.total.item() / self.source.rows
        epoch = len(state.measured) + 1
        at = Measurement(state.steps, epoch, self.epochs, seconds, bound, validation_bound)
        self.close(at)
        self.look_whether_over()
        self.guard.epoch_ended(at)
        shown.epoch(at)

    def look_whether_over(self) -> None:
        """Note whether the epochs are over, or patience ran out."""
        state, done = self.state, len(self.state.measured)
        patience = math.inf if self.patience is None else max(self.patience, self.validate_every)
        state.stopped_early = done - state.best_epoch >= patience
        state.over = state.stopped_early or done >= self.epochs

    def close(self, at: Measurement) -> None:
        """What the end of an epoch does to the state."""
        self.state.measured.append(at)
        self.state.total.zero_()
        self.keep_if_best(at)
        next_rate(self.state.scheduler, at.train_bound, at.validation_bound)

    def close_again(self, at: Measurement) -> None:
        """End an epoch as it ended before, for the guard, which takes its steps again."""
        if self.validates_now():
            self.validate()
        self.close(at)

    def write(self) -> None:
        """Write a checkpoint of the state as it is, if there is a folder for it."""
        if self.folder is None:
            return
        self.state.seconds = time.perf_counter() - self.began
        tensors, plain = self.state.read()
        tensors["total"] = self.processes.group.sum(tensors["total"].clone())
        best = self.state.best_tensors
        self.folder.write(
            self.state.steps,
            tensors,
            {
                "of": "a fit",
                "state": plain,
                "setting": dict(self.setting),
                "ranks": self.processes.group.ranks,
            },
            None if best is None else (self.state.best_epoch, best),
        )

    def refuse_to_go_on(self, interrupts: Interrupts) -> None:
        """Stop if a signal said so; the checkpoint is written."""
        if interrupts.received is not None and self.folder is not None:
            epoch = min(self.state.batches.epoch + 1, self.epochs)
            raise Interrupted(
                f"Stopped after step {self.state.steps}, in epoch {epoch} of {self.epochs}; a checkpoint "
                f"is in {self.folder.path}. Call fit again with resume=True to go on.",
                interrupts.received,
            )

    def validate(self) -> float:
        """The objective's bound per validation row; NaN where there are none."""
        x, batches = self.source.validation, self.state.batches
        if x is None:
            return math.nan
        try:
            size, group = batches.batch_size, self.processes.group
            bound = validation_bound(self.state.svi, x, size, batches.seed, group)
        except (RuntimeError, ValueError) as error:
            self.guard.refuse(error)
        if not math.isfinite(bound):
            self.guard.check()
            warnings.warn(
                f"the bound of the validation rows is {bound} after epoch {batches.epoch}: it is not taken "
                "for the best; look for rows far from those that were trained on",
                stacklevel=2,
            )
        return bound

    def keep_if_best(self, at: Measurement) -> None:
        """Copy the parameters if this epoch's are the best on the validation rows."""
        state = self.state
        if self.source.validation is None:
            state.best_epoch = at.epoch
        elif at.validation_bound > state.best:
            state.best, state.best_epoch = at.validation_bound, at.epoch
            state.best_tensors = {k: t.detach().clone() for k, t in state.named().items()}

    def restore_best(self) -> None:
        """Put the best parameters back, if any were kept."""
        best = self.state.best_tensors
        if best is not None:
            put_back(self.state.named(), best)

    def history(self) -> History:
        """What was measured, as arrays."""
        state = self.state
        count = self.processes.count({k: p for k, p in state.tensors.items() if p.requires_grad})
        return History.of(state.measured, count, state.best_epoch, state.stopped_early)
