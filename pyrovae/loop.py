"""The loop of a fit: steps, epochs, validation, and the best parameters so far."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pyrovae.batches import Batches
from pyrovae.feed import Feed, modules
from pyrovae.progress import FitProgress, Measurement
from pyrovae.svi import SVI


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


@dataclass
class Trainer:
    """All that one fit holds while it runs. Made by `pyrovae.fit`."""

    svi: SVI
    source: Feed
    batches: Batches
    scheduler: LRScheduler | None
    state: dict[str, Tensor]  # the very tensors that are trained, and buffers
    measured: list[Measurement] = field(default_factory=list)
    steps: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    best_state: dict[str, Tensor] | None = None

    def run(
        self, epochs: int, patience: int | None, validate_every: int, shown: FitProgress
    ) -> History:
        """Train to the end, or until patience runs out, and put the best parameters back."""
        began = time.perf_counter()
        stopped_early = False
        for epoch in range(1, epochs + 1):
            measured = epoch % validate_every == 0 or epoch == epochs
            try:
                train_bound = self.train(shown)
                validation_bound = self.validate() if measured else math.nan
            except (RuntimeError, ValueError) as error:
                self.refuse_divergence(error)
                raise
            seconds = time.perf_counter() - began
            at = Measurement(self.steps, epoch, epochs, seconds, train_bound, validation_bound)
            self.measured.append(at)
            self.keep_if_best(at)
            self.next_rate(at)
            shown.epoch(at)
            if patience is not None and epoch - self.best_epoch >= max(patience, validate_every):
                stopped_early = True
                break
        self.restore_best()
        return self.history(stopped_early)

    def train(self, shown: FitProgress) -> float:
        """One pass; the mean bound per row. Losses stay on the device until the pass is over."""
        total = torch.zeros((), device=self.source.device, dtype=torch.float64)
        for index in self.batches:
            x, extras = self.source.batch(index, self.batches.generator())
            loss = self.svi.step_tensor(x, **extras)
            total = total + loss.detach() / self.source.scale(len(index))
            self.steps += 1
            shown.step()
        bound = -total.item() / self.source.rows
        if not math.isfinite(bound):
            raise self.diverged(f"the bound became {bound}")
        return bound

    def refuse_divergence(self, error: Exception) -> None:
        """Name the cause if a program failed because the parameters had gone where none can be."""
        what = ""
        if not all(bool(tensor.isfinite().all()) for tensor in self.state.values()):
            what = "the parameters became infinite or not a number"
        elif isinstance(error, torch.linalg.LinAlgError):
            what = "a matrix could no longer be decomposed"
        elif self.steps and "to satisfy the constraint" in str(error):
            what = "a distribution was given parameters that it cannot have"
        if what:
            raise self.diverged(what) from error

    def diverged(self, what: str) -> FloatingPointError:
        """Put the best parameters back, and say what happened and what helps."""
        self.restore_best()
        kept = f"those of epoch {self.best_epoch} were restored" if self.best_state else "none kept"
        return FloatingPointError(
            f"{what} in epoch {len(self.measured) + 1}, by step {self.steps}: take a smaller learning "
            f"rate, or look for values in the data far from the rest (parameters: {kept})"
        )

    def validate(self) -> float:
        """The objective's bound per validation row, with the same random numbers at every call."""
        x = self.source.validation
        if x is None:
            return math.nan
        programs = modules(model=self.svi.model, guide=self.svi.guide).values()
        for program in programs:
            program.eval()
        total = 0.0
        with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
            torch.manual_seed(self.batches.seed)
            for rows in x.split(max(self.batches.batch_size, 256)):
                total += self.svi.evaluate_loss(rows)
        for program in programs:
            program.train()
        return -total / len(x)

    def keep_if_best(self, at: Measurement) -> None:
        """Copy the parameters if this epoch's are the best on the validation rows."""
        if self.source.validation is None:
            self.best_epoch = at.epoch
        elif at.validation_bound > self.best:
            self.best, self.best_epoch = at.validation_bound, at.epoch
            self.best_state = {name: tensor.detach().clone() for name, tensor in self.state.items()}

    def restore_best(self) -> None:
        """Put the best parameters back, if any were kept."""
        if self.best_state is not None:
            with torch.no_grad():
                for name, tensor in self.state.items():
                    tensor.copy_(self.best_state[name])

    def next_rate(self, at: Measurement) -> None:
        """Move the learning rate on; one that waits for a plateau looks at minus the bound."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            seen = at.validation_bound if math.isfinite(at.validation_bound) else at.train_bound
            self.scheduler.step(-seen)
        elif self.scheduler is not None:
            self.scheduler.step()

    def history(self, stopped_early: bool) -> History:
        """What was measured, as arrays."""
        columns = list(zip(*self.measured, strict=True))
        step, epoch, _, seconds, train_bound, validation_bound = map(np.asarray, columns)
        trained = {id(p): p for p in self.state.values() if p.requires_grad}
        return History(
            step=step,
            epoch=epoch,
            seconds=seconds,
            train_bound=train_bound,
            validation_bound=validation_bound,
            parameters=sum(p.numel() for p in trained.values()),
            best_epoch=self.best_epoch,
            stopped_early=stopped_early,
        )
