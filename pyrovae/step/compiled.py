"""A whole step as one compiled function: loss, gradients, clipping and Adam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from pyrovae.step.adam import AdamGroup, adam_in_graph, corrections
from pyrovae.step.cuda_graph import InOneGraph
from pyrovae.step.lowering import Compiled, lower
from pyrovae.step.recording import Outputs, Recording
from pyrovae.step.row_tables import Memory, Settings, update_rows
from pyrovae.step.update import Rows, Update, clipped, split


class CompiledStep:
    """One compiled function from parameters, optimizer state and batch to the loss.

    With an Adam the new parameters are part of it. With any other optimizer it ends at the gradients,
    which the optimizer then takes as ever.

    Args:
        recording: of a function that returns the loss and the gradients, as `LossAndGradients` does.
        parameters: those parameters; they are the first inputs of the recording.
        update: the optimizer.
        inputs: all inputs of the recording.
        arguments: the number of the first input that differs from step to step.
    """

    def __init__(
        self,
        recording: Recording,
        parameters: Sequence[Tensor],
        update: Update,
        inputs: Sequence[Tensor],
        arguments: int,
    ) -> None:
        self.recording = recording
        self.parameters = list(parameters)
        self.update = update
        given = recording.gives[1 : len(self.parameters) + 1]
        self._moved = [
            p
            for p, moves in zip(self.parameters, given, strict=True)
            if moves and p not in update.by_rows
        ]
        groups = update.groups(self._moved)
        alone = update.share is None  # otherwise gradients travel before they are applied
        rates = [g.lr for g in groups or []]
        self.finishes = (
            alone and groups is not None and not any(isinstance(r, Tensor) for r in rates)
        )
        self._groups = groups if groups is not None and self.finishes else []
        self._tables = list(update.by_rows.values()) if self.finishes else []
        number = torch.zeros((), dtype=torch.float64, device=self.parameters[0].device)
        self._rates = [number + rate for rate in self._rates_now()]
        self._scalars = [number.new_zeros(2) for _ in self._groups]
        self._settings = update.settings()
        self._fixed = self._fixed_now()
        self._kept = self._state()
        compiled: Compiled = lower(self._function, [*inputs, *self._kept])
        if self.finishes and all(tensor.is_cuda for tensor in [*inputs, *self._kept]):
            compiled = InOneGraph(compiled, range(arguments, len(inputs)))
        self._compiled = compiled

    def __call__(self, inputs: Sequence[Tensor]) -> Outputs:
        """Take the step, and return the loss before it."""
        outputs = self.play(inputs)
        if self.finishes:
            self.update.noticed()
        else:
            self.update(self.parameters, outputs[1:])
        return outputs[:1]

    def play(self, inputs: Sequence[Tensor]) -> Outputs:
        """Run what is compiled."""
        self._prepare()
        with torch.no_grad():
            return list(self._compiled([*inputs, *self._kept]))

    def many(self, state: Sequence[Tensor], batches: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Take a step with each batch, with as little as can be between two; the losses before them."""
        if not self.finishes:
            each: list[Any] = [self([*state, *batch])[0] for batch in batches]
            return each
        kept, first = list(self._kept), len(self.recording.constants) + len(self._rates)
        scalars = [
            _scalars_of(group, here, len(batches))
            for group, here in zip(self._groups, self._scalars, strict=True)
        ]
        losses: list[Any] = []
        with torch.no_grad():
            for n, batch in enumerate(batches):
                kept[first : first + len(scalars)] = [now[n] for now in scalars]
                losses.append(self._compiled([*state, *batch, *kept])[0])
        self.update.noticed()
        return losses

    def holds(self) -> bool:
        """Take up the learning rate and newly loaded state; whether the other settings are as they were."""
        settings = self.update.settings()
        if settings == self._settings:
            return True
        if not self.finishes:
            return False
        self._groups = self.update.groups(self._moved) or []
        if self._fixed_now() != self._fixed:
            return False
        for rate, now in zip(self._rates, self._rates_now(), strict=True):
            rate.fill_(now)
        self._settings, self._kept = settings, self._state()
        return True

    @property
    def touched(self) -> list[Tensor]:
        """The optimizer's memory."""
        dense = [t for g in self._groups for t in (*g.averages, *g.squares, *g.steps)]
        return dense + [t for table in self._tables for t in table.memory[:3]]

    def _prepare(self) -> None:
        """Compute what depends on the number of steps alone: powers are slow, and needed but once.

        On an accelerator, where reading the number would mean waiting, the compiled function does it.
        """
        for group, scalars in zip(self._groups, self._scalars, strict=True):
            if group.steps[0].device.type == "cpu":
                scalars.numpy()[:] = corrections(group, group.lr, group.steps[0].item() + 1)

    def _rates_now(self) -> list[float]:
        return [g.lr for g in self._groups] + [table.settings.lr for table in self._tables]

    def _fixed_now(self) -> list[object]:
        tables = [(t.settings.betas, t.settings.eps) for t in self._tables]
        return [*(group.fixed for group in self._groups), *tables]

    def _state(self) -> list[Tensor]:
        kept = [*self.recording.constants, *self._rates, *self._scalars]
        for group in self._groups:
            kept += [*group.averages, *group.squares, *group.steps]
        for table in self._tables:
            kept += table.memory
        return kept

    def _function(self, *tensors: Tensor) -> Outputs:
        """The whole step in plain operations: what is compiled."""
        count = len(tensors) - len(self._kept) + len(self.recording.constants)
        outputs = self.recording.graph(*tensors[:count])
        if not self.finishes:
            return list(outputs)
        here = dict(zip(self.parameters, tensors, strict=False))
        tables = [table.table for table in self._tables]
        dense, rows = split(self.parameters, outputs[1:], tables)
        if self.update.clip_norm is not None:
            dense, rows = clipped(dense, rows, self.update.clip_norm)
        rest = iter(tensors[count:])
        rates = list(islice(rest, len(self._rates)))
        corrected = list(islice(rest, len(self._scalars)))
        for group, rate, scalars in zip(self._groups, rates, corrected, strict=False):
            _adam(group, [rate, *scalars.unbind()], here, dense, rest)
        self._rows(rates[len(self._groups) :], here, rows, rest)
        return [outputs[0]]

    def _rows(
        self, rates: list[Tensor], here: dict[Tensor, Tensor], rows: Rows, rest: Iterator[Tensor]
    ) -> None:
        for table, rate in zip(self._tables, rates, strict=True):
            memory = Memory(*islice(rest, len(Memory._fields)))
            if table.table in rows:
                index, gradient = rows[table.table]
                settings = Settings(rate, *table.settings[1:])
                update_rows(here[table.table], index, gradient, memory, settings)


def _scalars_of(group: AdamGroup, here: Tensor, count: int) -> Sequence[Tensor]:
    """What `corrections` returns for some steps to come; on an accelerator it is computed there."""
    if group.steps[0].device.type != "cpu":
        return [here] * count
    taken = group.steps[0].item()
    values = [corrections(group, group.lr, taken + n) for n in range(1, count + 1)]
    return torch.tensor(values, dtype=torch.float64).unbind()


def _adam(
    group: AdamGroup,
    scalars: list[Tensor],
    here: dict[Tensor, Tensor],
    gradients: dict[Tensor, Tensor],
    rest: Iterator[Tensor],
) -> None:
    count = len(group.parameters)
    averages, squares, steps = (list(islice(rest, count)) for _ in range(3))
    if steps[0].device.type != "cpu":
        scalars = [scalars[0], *corrections(group, scalars[0], steps[0].double() + 1)]
    adam_in_graph(
        group,
        scalars,
        [here[p] for p in group.parameters],
        [gradients[p] for p in group.parameters],
        averages,
        squares,
        steps,
    )
