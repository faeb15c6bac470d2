"""Adam in a compiled step: all that may change from step to step is an input of the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.step.adam import AdamGroup, Formula, corrections

_known = lru_cache(maxsize=256)(corrections)


class AdamInputs:
    """The settings of Adam and what it remembers, parameter by parameter.

    Schedulers change any setting, a parameter that is frozen for a while falls behind the others, and
    settings may come to be shared or not: the code depends on none of it, since every parameter has a
    row of numbers and a count of steps of its own.

    Args:
        groups: of all parameters that move.
        device: where the settings are kept.
    """

    def __init__(self, groups: Sequence[AdamGroup], device: torch.device) -> None:
        self.parameters = [p for group in groups for p in group.parameters]
        self._formulas = [group.formula for group in groups for _ in group.parameters]
        self._on_host = counts_on_host(groups)
        # Powers need all digits of the settings, which this side has; the code then does with fewer.
        short = self._on_host and not any(p.dtype == torch.float64 for p in self.parameters)
        dtype = torch.float32 if short else torch.float64
        count = len(self.parameters)
        self._settings = torch.zeros(count, 7, dtype=dtype, device=device)
        self._corrections = torch.zeros(count, 2, dtype=dtype, device=device)
        self.memory: list[Tensor] = []
        self.take_up(groups)

    def take_up(self, groups: Sequence[AdamGroup]) -> bool:
        """Work with other settings and another memory; False if other code is needed for them."""
        of = {p: (group, n) for group in groups for n, p in enumerate(group.parameters)}
        if of.keys() != set(self.parameters):
            return False
        found = [of[parameter] for parameter in self.parameters]
        for (group, _), formula in zip(found, self._formulas, strict=True):
            if group.formula not in (formula, formula._replace(decays=False)):  # decay by 0 is none
                return False
        self.memory = [
            *(group.averages[n] for group, n in found),
            *(group.squares[n] for group, n in found),
            *(group.steps[n] for group, n in found),
        ]
        if found:
            rows = [_numbers(group) for group, _ in found]
            self._settings.copy_(torch.tensor(rows, dtype=self._settings.dtype), non_blocking=True)
        self._rates = [(group.lr, group.betas) for group, _ in found]
        self._alike = len(set(self._rates)) == 1
        self._open()
        return True

    def _open(self) -> None:
        """Lay arrays on the memory of tensors: they are read and written in a fifth of the time."""
        steps = self.memory[2 * len(self.parameters) :] if self._on_host else []
        self._counts = [step.numpy() for step in steps]
        self._rows = self._corrections.numpy() if steps else None

    def __getstate__(self) -> dict[str, Any]:
        """All but the arrays: a copy has other memory."""
        return {n: v for n, v in self.__dict__.items() if n not in ("_counts", "_rows")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    @property
    def tensors(self) -> list[Tensor]:
        """The inputs of the compiled code; of these `ahead` replaces the first."""
        return [self._corrections, self._settings, *self.memory]

    def prepare(self) -> None:
        """Compute what depends on the number of steps alone: powers are slow, and needed but once.

        On an accelerator, where reading the number would mean waiting, the compiled function does it.
        """
        if self._rows is not None:
            self._rows[:] = self._corrected(list(map(float, self._counts)))

    def ahead(self, count: int) -> Sequence[Tensor]:
        """What `prepare` computes, for some steps to come."""
        if self._rows is None:
            return [self._corrections] * count
        taken = list(map(float, self._counts))
        values = np.empty((count, *self._rows.shape), self._rows.dtype)
        for n in range(count):
            values[n] = self._corrected([number + n for number in taken])
        return torch.from_numpy(values).unbind()

    def _corrected(self, taken: list[float]) -> Any:
        """Corrections after so many steps, by parameters; but one where they are the same for all."""
        if self._alike and taken.count(taken[0]) == len(taken):
            return corrections(*self._rates[0], taken[0] + 1)
        return [_known(*rate, number + 1) for rate, number in zip(self._rates, taken, strict=True)]

    def move(
        self,
        here: Mapping[Tensor, Tensor],
        gradients: Mapping[Tensor, Tensor],
        inputs: Iterator[Tensor],
        applied: Tensor,
    ) -> None:
        """One step in plain operations, for a graph that is to be compiled.

        Args:
            here: the input that stands for each parameter.
            gradients: of each.
            inputs: those that stand for ``tensors``.
            applied: (), whether to; everything stays as it is if not.
        """
        count = len(self.parameters)
        corrected, settings = next(inputs).unbind(), next(inputs).unbind()
        averages, squares, steps = (list(islice(inputs, count)) for _ in range(3))
        for n, p in enumerate(self.parameters):
            lr, beta1, beta2, *rest = settings[n].unbind()
            size, root = corrected[n].unbind()
            if not self._on_host:
                size, root = corrections(lr, (beta1, beta2), steps[n].double() + 1)
            steps[n].add_(applied.to(steps[n].dtype))
            dtype = torch.float64 if p.dtype == torch.float64 else torch.float32
            numbers = [number.to(dtype) for number in (size, root, beta2, *rest)]
            kept = [here[p], averages[n], squares[n]]
            for tensor, now in zip(
                kept, _moved(self._formulas[n], numbers, gradients[p], *kept), strict=True
            ):
                tensor.copy_(torch.where(applied, now, tensor))


def counts_on_host(groups: Sequence[AdamGroup]) -> bool:
    """Whether the numbers of steps can be read without waiting for an accelerator."""
    return all(step.device.type == "cpu" for group in groups for step in group.steps)


def _numbers(group: AdamGroup) -> list[float]:
    """A row of settings; differences are taken here, since 1 - 0.999 has but four digits in float32."""
    beta1, beta2 = group.betas
    decay = group.weight_decay * (group.lr if group.decoupled else 1.0)
    return [group.lr, beta1, beta2, 1 - beta1, 1 - beta2, group.eps, decay]


def _moved(
    formula: Formula,
    numbers: Sequence[Tensor],
    gradient: Tensor,
    p: Tensor,
    average: Tensor,
    square: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""A parameter and its averages after a step.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2,
              \quad \theta \leftarrow \theta - \eta \frac{m / (1 - \beta_1^t)}
              {\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Source: Adam: a method for stochastic optimization (Kingma & Ba, 2015); Decoupled weight decay
    regularization (Loshchilov & Hutter, 2019).
    """
    size, root, beta2, rest1, rest2, eps, decay = numbers
    if formula.maximize:
        gradient = -gradient
    if formula.decays and formula.decoupled:
        p = p - decay * p
    elif formula.decays:
        gradient = gradient + decay * p
    average = average + rest1 * (gradient - average)
    square = beta2 * square + rest2 * gradient * gradient
    return p - size * average / (square.sqrt() * root + eps), average, square
