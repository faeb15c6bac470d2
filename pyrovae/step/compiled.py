"""A recording as one compiled function; of a step, with clipping and Adam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from operator import is_
from typing import Any

import torch
from torch import Tensor

from pyrovae.step.adam import AdamGroup
from pyrovae.step.adam_inputs import AdamInputs
from pyrovae.step.agreement import sound
from pyrovae.step.cuda_graph import InOneGraph
from pyrovae.step.lowering import Lowered, lower
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
        groups = self._groups()
        self.finishes = groups is not None
        device = self.parameters[0].device
        self._adam = AdamInputs(groups or [], device)
        self._tables = list(update.by_rows.values()) if self.finishes else []
        self._table_settings = [
            torch.zeros(4, dtype=torch.float64, device=device) for _ in self._tables
        ]
        self._look()
        compiled: Lowered = lower(self._function, [*inputs, *self._kept])
        if self.finishes and all(tensor.is_cuda for tensor in [*inputs, *self._kept]):
            compiled = InOneGraph(compiled, range(arguments, len(inputs)))
        self._compiled = compiled

    def __call__(self, inputs: Sequence[Tensor]) -> Outputs:
        """Take the step, and return the loss before it; the gradients too, where Adam is no part of it."""
        self._adam.prepare()
        with torch.no_grad():
            outputs = list(self._compiled([*inputs, *self._kept]))
        if self.finishes:
            self.update.noticed()
        return outputs

    def many(self, state: Sequence[Tensor], batches: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Take a step with each batch, with as little as can be between two; the losses before them.

        It stops at a loss that is not finite, of which nothing was applied.
        """
        kept, place = list(self._kept), len(self.recording.constants)
        losses: list[Any] = []
        with torch.no_grad():
            for corrections, batch in zip(self._adam.ahead(len(batches)), batches, strict=True):
                kept[place] = corrections
                losses.append(self._compiled([*state, *batch, *kept])[0])
                if not sound(losses[-1:]):
                    break
        self.update.noticed()
        return losses

    def holds(self) -> bool:
        """Take up changed settings and another memory; False if other code is needed for them.

        Code that ends at the gradients does not depend on them.
        """
        if not self.finishes:
            return True
        as_it_was = all(map(is_, self.update.works_on(), self._works_on))
        if as_it_was and self.update.settings() == self._settings:
            return True
        groups = self._groups()
        if groups is None or not self._adam.take_up(groups):
            return False
        before = [_kind(tensor) for tensor in self._kept]
        self._look()
        return [_kind(tensor) for tensor in self._kept] == before

    @property
    def touched(self) -> list[Tensor]:
        """The optimizer's memory."""
        return self._adam.memory + [t for table in self._tables for t in table.memory[:3]]

    def _groups(self) -> list[AdamGroup] | None:
        """What Adam works on; None if its part cannot be compiled."""
        if self.update.share is not None:  # gradients travel before they are applied
            return None
        groups = self.update.groups(self._moved, begin=True)
        if any(isinstance(n, Tensor) for group in groups or [] for n in (group.lr, *group.betas)):
            return None
        return groups

    def _look(self) -> None:
        """Note how the optimizer is now."""
        for numbers, table in zip(self._table_settings, self._tables, strict=True):
            now = table.settings
            row = torch.tensor([now.lr, *now.betas, now.eps], dtype=torch.float64)
            numbers.copy_(row, non_blocking=True)
        self._kept = list(self.recording.constants)
        if not self.finishes:
            return
        self._kept += [*self._adam.tensors, *self._table_settings]
        for table in self._tables:
            self._kept += table.memory
        self._settings = self.update.settings()
        self._works_on = list(self.update.works_on())

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
        applied = outputs[0].isfinite()
        self._adam.move(here, dense, rest, applied)
        self._move_rows(here, rows, rest, applied)
        return [outputs[0]]

    def _move_rows(
        self, here: dict[Tensor, Tensor], rows: Rows, rest: Iterator[Tensor], applied: Tensor
    ) -> None:
        settings = list(islice(rest, len(self._tables)))
        for table, numbers in zip(self._tables, settings, strict=True):
            memory = Memory(*islice(rest, len(Memory._fields)))
            if table.table in rows:
                index, gradient = rows[table.table]
                lr, beta1, beta2, eps = numbers.unbind()
                now = Settings(lr, (beta1, beta2), eps)
                update_rows(here[table.table], index, gradient, memory, now, applied)


class CompiledFunction:
    """A recording compiled as it is.

    Args:
        recording: of any function.
        inputs: all its inputs.
    """

    finishes = True

    def __init__(self, recording: Recording, inputs: Sequence[Tensor]) -> None:
        self._constants = recording.constants
        self._compiled = lower(recording.graph, [*inputs, *self._constants])

    def __call__(self, inputs: Sequence[Tensor]) -> Outputs:
        """Run what is compiled."""
        with torch.no_grad():
            return list(self._compiled([*inputs, *self._constants]))

    def holds(self) -> bool:
        """Nothing is compiled in that could change."""
        return True

    @property
    def touched(self) -> list[Tensor]:
        """None but its inputs."""
        return []


# Both say whether what is done with the outputs is compiled too, and which tensors beside inputs they change.
Compiled = CompiledStep | CompiledFunction


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    """What compiled code relies on, and does not look at."""
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device
