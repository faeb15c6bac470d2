"""Stops a fit before a number that is not one is applied, without looking at every step.

Losses add up on the device, and a sum that holds one infinite or undefined loss stays so. Every so many
steps the sum and the parameters are looked at, once; if they are sound, a copy of the whole state is
kept. If not, the fit goes back to the copy and takes the steps again, some at a time and then one by one,
through the ends of epochs too: the same random numbers lead to the same failure, and it stops before that
step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NoReturn

import torch
from torch import Tensor

from pyrovae.distributed.group import Group
from pyrovae.training.feed import Feed
from pyrovae.training.fit_state import FitState
from pyrovae.training.non_finite import Finding, NonFiniteError, explain, of_error
from pyrovae.training.progress import Measurement

EVERY = 256  # steps between two looks at least: one waits for the device, and copies the state
SHARE = 2**16  # bytes of tables by rows that a step pays for in copies, however many rows there are
MOST_BYTES = 2**30  # a larger state is looked at, but not copied


class Guard:
    """The last state of a fit that was sound.

    Args:
        state: of the fit.
        source: of its batches.
        step: takes one step with the rows of these numbers.
        close: ends an epoch again that was so measured.
        group: of processes, which find out together and go back together.
        tables: names of the parameters that have a row for every datapoint.
    """

    def __init__(
        self,
        state: FitState,
        source: Feed,
        step: Callable[[Tensor], None],
        close: Callable[[Measurement], None],
        group: Group,
        tables: Sequence[str],
    ) -> None:
        self.group = group
        held = [state.tensors[name] for name in tables]
        size = sum(3 * table.numel() * table.element_size() for table in held)  # with two moments
        self.every = max(EVERY, size // SHARE)
        self.state = state
        self.source = source
        self.step = step
        self.close = close
        self.closed: list[Measurement] = []  # epochs that ended since the copy
        self.kept: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self.since = 0

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the state, which is known to be sound."""
        tensors, plain = self.state.read()
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        self.since = self.state.steps
        self.closed = []
        self.kept = (
            None if self.group.any(size > MOST_BYTES) else (_copies(tensors, self.kept), plain)
        )

    def look(self) -> None:
        """Look at the state if it is time to, and keep it if it is sound.

        Raises:
            NonFiniteError: it is not; the state is the one before the step that failed.
        """
        if self.state.steps - self.since >= self.every:
            self.check()
            self.keep()

    def epoch_ends(self, last: bool) -> None:
        """Look at the sum of the losses, which is about to be used, and at the rest if it is time to.

        Args:
            last: whether nothing may follow.

        Raises:
            NonFiniteError: as `look`.
        """
        if last or self.state.steps - self.since >= self.every:
            self.check()
        elif not math.isfinite(self.state.total.item()):
            self.find(None)

    def epoch_ended(self, at: Measurement) -> None:
        """Keep the state if it is time to, or else how the epoch ended."""
        if self.kept is None or self.state.steps - self.since >= self.every:
            self.keep()
        else:
            self.closed.append(at)

    def check(self) -> None:
        """Look at the state now.

        Raises:
            NonFiniteError: as `look`.
        """
        if not self.sound():
            self.find(None)

    def sound(self) -> bool:
        """Whether the losses so far and all parameters are numbers; waits for the device once."""
        trained = [t.detach() for t in self.state.named().values() if t.requires_grad and t.numel()]
        largest = torch._foreach_norm(trained, ord=math.inf) if trained else []
        seen = [self.state.total, *(norm.to(self.state.total) for norm in largest)]
        return not self.group.any(not torch.stack(seen).isfinite().all())

    def find(self, error: Exception | None) -> NoReturn:
        """Go back to the last sound state, take the steps again, and stop before the one that fails.

        Args:
            error: what a program raised in the last step, if one did.

        Raises:
            NonFiniteError: a number stopped being one; the sentence says where.
            Exception: ``error``, if all numbers were sound when it was raised.
        """
        state, until = self.state, self.state.steps
        if error is not None and self.group.many:
            raise error  # the others wait for this step, and end with this process
        bad = self.bad_parameters()
        if self.kept is None:
            if error is not None and not bad:
                raise error
            lost = "the last good state is in the last checkpoint, if one was written"
            raise self._error(Finding.of_parameters("update", bad), state.steps, lost)
        state.put(*self.kept)
        end = until + (error is not None)
        stride = max(math.isqrt(end - state.steps), 1)
        while state.steps < end:
            if not self._steps_again(min(stride, end - state.steps)):
                stride = 1
        done = f", but not when steps {self.since + 1} to {until} were taken again"
        raise self._error(Finding.of_parameters("outside", bad, done), until)

    def refuse(self, error: Exception) -> NoReturn:
        """Go back to the last sound state because the validation rows cannot be scored with this one.

        Raises:
            NonFiniteError: the parameters had gone where none can be.
            Exception: ``error``, if that was not why.
        """
        self.check()
        finding = of_error(error, self.state.steps + 1, [])
        if finding is None:
            raise error
        found = replace(finding, what=f"{finding.what}, in scoring the validation rows")
        if self.kept is not None:
            self.state.put(*self.kept)
        kept = f"the parameters are those of step {self.since}"
        raise self._error(found, self.state.steps, kept) from error

    def _steps_again(self, count: int) -> bool:
        """Take steps, and look at what they did; if it is bad, go back before them.

        Raises:
            NonFiniteError: it was one step, which is what was looked for.
        """
        state = self.state
        if state.batches.position == state.batches.size:
            next(iter(state.batches), None)  # goes on to the next pass
            self.close(self.closed.pop(0))
        tensors, plain = state.read()
        before, closed = (_copies(tensors, None), plain), [*self.closed]
        failed: Exception | None = None
        try:
            for index in islice(self._batches_again(), count):
                self.step(index)
        except (RuntimeError, ValueError) as error:
            if self.group.many:
                raise
            failed = error
        if failed is None and self.sound():
            return True
        if count == 1:
            self._tell(index, before, failed)
        state.put(*before)
        self.closed = closed
        return False

    def _batches_again(self) -> Iterator[Tensor]:
        """The batches from here on, with epochs that end as they did; the order of a pass is made once."""
        while True:
            yield from self.state.batches
            self.close(self.closed.pop(0))

    def _tell(
        self, index: Tensor, before: tuple[dict[str, Tensor], Any], failed: Exception | None
    ) -> NoReturn:
        """Say what went wrong in a step with these rows, with the state as it was before."""
        state = self.state
        bad, step = self.bad_parameters(), before[1]["steps"] + 1
        state.put(*before)
        next(iter(state.batches))  # the noise of a batch is known by the position after it
        x, extras = self.source.batch(index, state.batches.generator())
        finding = explain(state.svi, state.named(), x, extras, index, bad)
        state.put(*before)
        if finding is None and failed is not None:
            finding = of_error(failed, step, index.tolist())
            if finding is None:
                raise failed
        sum_of_losses = Finding("loss", "the sum of the losses became infinite", index.tolist())
        raise self._error(finding or sum_of_losses, step) from failed

    def bad_parameters(self) -> dict[str, float]:
        """Those that hold infinite numbers or none, each with the first such value."""
        trained = {k: t.detach() for k, t in self.state.named().items() if t.requires_grad}
        return {k: float(t[~t.isfinite()][0]) for k, t in trained.items() if not t.isfinite().all()}

    def _error(self, finding: Finding, step: int, kept: str = "") -> NonFiniteError:
        kept = kept or "the parameters are those before it"
        return NonFiniteError(finding, step=step, epoch=len(self.state.measured) + 1, kept=kept)


def _copies(
    tensors: dict[str, Tensor], kept: tuple[dict[str, Tensor], Any] | None
) -> dict[str, Tensor]:
    """Copies of tensors, into the memory of earlier copies where there are some."""
    there = {} if kept is None else kept[0]
    made: dict[str, Tensor] = {}
    pairs: list[tuple[Tensor, Tensor]] = []
    for name, tensor in tensors.items():
        old = there.get(name)
        if name.startswith("best."):  # replaced as a whole, never written to
            made[name] = tensor
        elif old is not None and (old.shape, old.dtype) == (tensor.shape, tensor.dtype):
            made[name] = old
            pairs.append((old, tensor.detach()))
        else:
            made[name] = tensor.detach().clone()
    if pairs:
        torch._foreach_copy_([old for old, _ in pairs], [tensor for _, tensor in pairs])
    return made
