"""The loop of a fit: steps, epochs, validation, and the best parameters so far."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pyrovae.checkpoint import check_same, put_back
from pyrovae.training.checkpoint_folder import CheckpointFolder
from pyrovae.training.feed import Feed
from pyrovae.training.fit_state import FitState, kinds_of
from pyrovae.training.guard import Guard
from pyrovae.training.history import History
from pyrovae.training.interrupts import Interrupted, Interrupts
from pyrovae.training.progress import FitProgress, Measurement
from pyrovae.training.svi_state import compiled_kinds
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
    """

    state: FitState
    source: Feed
    epochs: int
    patience: int | None
    validate_every: int
    folder: CheckpointFolder | None
    setting: Mapping[str, Any]

    def run(self, shown: FitProgress) -> History:
        """Train to the end, or until patience runs out, and put the best parameters back."""
        state = self.state
        if state.over:
            self.restore_best()
            return self.history()
        self.began = time.perf_counter() - state.seconds
        self.guard = Guard(state, self.source, self.step, self.close_again)
        self.guard.keep()
        with Interrupts(self.folder is not None) as interrupts:
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

    def resume(
        self,
        tensors: Mapping[str, Tensor],
        plain: Any,
        *,
        convert: bool = False,
        exact: bool = True,
    ) -> None:
        """Go on from the state that a checkpoint holds.

        Args:
            tensors: of the checkpoint.
            plain: the rest of the state in it.
            convert: whether parameters of another precision are taken.
            exact: whether the next steps must have the bits that they would have had.

        Raises:
            ValueError: it is the state of another fit, or its steps cannot be compiled as they were.
        """
        before = {name: tensor.detach().clone() for name, tensor in self.state.tensors.items()}
        try:
            self._resume(tensors, plain, convert, exact)
        except Exception:
            put_back(self.state.tensors, before)
            raise

    def _resume(
        self, tensors: Mapping[str, Tensor], plain: Any, convert: bool, exact: bool
    ) -> None:
        state = self.state
        came = {k.removeprefix("now."): t for k, t in tensors.items() if k.startswith("now.")}
        came = {name: tensor for name, tensor in came.items() if not name.startswith("store.")}
        check_same(came, state.tensors, convert=convert)
        put_back(state.tensors, came)
        # Steps that are undone at once: after them the optimiser has made all that it remembers, and
        # what was recorded or compiled is so again.
        for epoch, start, end, count in kinds_of(plain) or [[0, 0, 1, 1]]:
            for _ in range(count):
                self.step(state.batches.order(epoch)[start:end])
        state.put(tensors, plain, convert=convert)
        then, now = plain["compiled"], compiled_kinds(state.svi)
        if exact and then != now:
            raise ValueError(
                f"steps with {then} kinds of batches were compiled, here {now} can be, and compiled steps "
                "round differently: say resume='anyway' to go on all the same"
            )
        state.over = state.stopped_early or len(state.measured) >= self.epochs

    def validates_now(self) -> bool:
        """Whether the validation rows are looked at in this epoch."""
        epoch = len(self.state.measured) + 1
        return epoch % self.validate_every == 0 or epoch == self.epochs

    def step(self, index: Tensor) -> None:
        """One step with rows of these numbers; the loss stays on the device."""
        state = self.state
        state.note(index, self.source.any_missing(index))
        x, extras = self.source.batch(index, state.batches.generator())
        loss = state.svi.step_tensor(x, **extras)
        state.total.add_(loss.detach() / self.source.scale(len(index)))
        state.steps += 1

    def train(self, shown: FitProgress, interrupts: Interrupts) -> None:
        """What is left of a pass. Losses add up on the device, which is seldom waited for."""
        state = self.state
        for index in state.batches:
            try:
                self.step(index)
            except (RuntimeError, ValueError) as error:
                self.guard.find(error)
            self.guard.look()
            shown.step()
            stopped = interrupts.received is not None
            if self.folder is not None and (stopped or self.folder.due(state.steps)):
                self.guard.check()
                self.write()
                self.refuse_to_go_on(interrupts)
        epoch = len(state.measured) + 1
        last = self.patience is not None and epoch - state.best_epoch >= self.patience
        self.guard.epoch_ends(last or epoch == self.epochs)

    def close_epoch(self, validation_bound: float, shown: FitProgress) -> None:
        """Note the bounds, keep the parameters if they are the best, and move the learning rate on."""
        state = self.state
        seconds = time.perf_counter() - self.began
        bound = -state.total.item() / self.source.rows
        epoch = len(state.measured) + 1
        at = Measurement(state.steps, epoch, self.epochs, seconds, bound, validation_bound)
        self.close(at)
        waited = epoch - state.best_epoch
        patience = math.inf if self.patience is None else max(self.patience, self.validate_every)
        state.stopped_early = waited >= patience
        state.over = state.stopped_early or epoch >= self.epochs
        self.guard.epoch_ended(at)
        shown.epoch(at)

    def close(self, at: Measurement) -> None:
        """What the end of an epoch does to the state."""
        self.state.measured.append(at)
        self.state.total.zero_()
        self.keep_if_best(at)
        self.next_rate(at)

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
        best = self.state.best_tensors
        self.folder.write(
            self.state.steps,
            tensors,
            {"of": "a fit", "state": plain, "setting": dict(self.setting)},
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
            bound = validation_bound(self.state.svi, x, batches.batch_size, batches.seed)
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

    def next_rate(self, at: Measurement) -> None:
        """Move the learning rate on; one that waits for a plateau looks at minus the bound."""
        scheduler = self.state.scheduler
        if isinstance(scheduler, ReduceLROnPlateau):
            seen = at.validation_bound if math.isfinite(at.validation_bound) else at.train_bound
            scheduler.step(-seen)
        elif scheduler is not None:
            scheduler.step()

    def history(self) -> History:
        """What was measured, as arrays."""
        state = self.state
        trained = {id(p): p for p in state.tensors.values() if p.requires_grad}
        count = sum(p.numel() for p in trained.values())
        return History.of(state.measured, count, state.best_epoch, state.stopped_early)
