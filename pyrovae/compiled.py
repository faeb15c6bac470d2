"""A whole step as one compiled function: loss, gradients, clipping and Adam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from pyrovae.adam import AdamGroup, adam_in_graph
from pyrovae.lowering import lower
from pyrovae.recording import Outputs, Recording
from pyrovae.update import Update, clipped


class CompiledStep:
    """One compiled function from parameters, optimizer state and batch to the loss.

    With an Adam the new parameters are part of it. With any other optimizer it ends at the gradients,
    which the optimizer then takes as ever.

    Args:
        recording: of a function that returns the loss and the gradient of every parameter.
        parameters: those parameters; they are the first inputs of the recording.
        update: the optimizer.
        inputs: all inputs of the recording.
    """

    def __init__(
        self,
        recording: Recording,
        parameters: Sequence[Tensor],
        update: Update,
        inputs: Sequence[Tensor],
    ) -> None:
        self.recording = recording
        self.parameters = list(parameters)
        self.update = update
        given = recording.gives[1:]
        self._moved = [p for p, moves in zip(self.parameters, given, strict=True) if moves]
        self._groups = _groups_in_step(update, self._moved)
        self._rates = [torch.tensor(group.lr, dtype=torch.float64) for group in self._groups]
        self._settings = update.settings()
        self._kept = self._state()
        self._compiled = lower(self._function, [*inputs, *self._kept])

    def __call__(self, inputs: Sequence[Tensor]) -> Outputs:
        """Take the step, and return the loss before it."""
        with torch.no_grad():
            outputs = list(self._compiled([*inputs, *self._kept]))
        if self._groups:
            self.update.noticed()
        else:
            self.update(self.parameters, outputs[1:])
        return outputs[:1]

    def holds(self) -> bool:
        """Take up the learning rate and newly loaded state; whether the other settings are as they were."""
        settings = self.update.settings()
        if settings == self._settings:
            return True
        groups = _groups_in_step(self.update, self._moved)
        if [group.fixed for group in groups] != [group.fixed for group in self._groups]:
            return False
        for rate, group in zip(self._rates, groups, strict=True):
            rate.fill_(group.lr)
        self._groups, self._settings = groups, settings
        self._kept = self._state()
        return True

    @property
    def touched(self) -> list[Tensor]:
        """The optimizer's memory."""
        return [t for g in self._groups for t in (*g.averages, *g.squares, *g.steps)]

    def _state(self) -> list[Tensor]:
        kept = [*self.recording.constants]
        for group, rate in zip(self._groups, self._rates, strict=True):
            kept += [rate, *group.averages, *group.squares, *group.steps]
        return kept

    def _function(self, *tensors: Tensor) -> Outputs:
        """The whole step in plain operations: what is compiled."""
        count = len(tensors) - len(self._kept) + len(self.recording.constants)
        outputs = self.recording.graph(*tensors[:count])
        if not self._groups:
            return list(outputs)
        loss, *gradients = outputs
        of = {id(p): g for p, g in zip(self.parameters, gradients, strict=True) if g is not None}
        if self.update.clip_norm is not None:
            of = dict(zip(of, clipped(list(of.values()), self.update.clip_norm), strict=True))
        here = {id(p): tensor for p, tensor in zip(self.parameters, tensors, strict=False)}
        rest = iter(tensors[count:])
        for group in self._groups:
            self._adam(group, rest, here, of)
        return [loss]

    def _adam(
        self,
        group: AdamGroup,
        rest: Iterator[Tensor],
        here: dict[int, Tensor],
        gradients: dict[int, Tensor],
    ) -> None:
        count = len(group.parameters)
        (rate,) = islice(rest, 1)
        adam_in_graph(
            group,
            rate,
            [here[id(p)] for p in group.parameters],
            [gradients[id(p)] for p in group.parameters],
            list(islice(rest, count)),
            list(islice(rest, count)),
            list(islice(rest, count)),
        )


def _groups_in_step(update: Update, parameters: list[Tensor]) -> list[AdamGroup]:
    """The groups of Adam, if it is one; none if it cannot be part of a compiled step."""
    groups = update.groups(parameters)
    if groups is None or any(isinstance(group.lr, Tensor) for group in groups):
        return []
    return groups
