"""The mean of weights given as logarithms, in one pass, without losing what single precision would."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae.sampling.evidence_result import Evidence


class LogMoments:
    """Log-mean-exp of log-weights and its standard error, in float64, in one pass over chunks.

    Args:
        keep: whether to keep the log-weights themselves too.

    Example:
        >>> total = LogMoments()
        >>> for chunk in torch.zeros(10, 3).split(4):
        ...     total.add(chunk)
        >>> value, error = total.result()
        >>> value.tolist(), error.tolist()
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.count = 0
        self._kept: list[Tensor] | None = [] if keep else None
        self._top: Tensor | None = None
        self._sum: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, log_weights: Tensor) -> None:
        """Take in a chunk (k, B)."""
        if self._kept is not None:
            self._kept.append(log_weights)
        log_weights = log_weights.detach().double()
        self.count += len(log_weights)
        top = log_weights.amax(0)
        if self._top is None or self._sum is None or self._squares is None:
            self._top, self._sum, self._squares = top, torch.zeros_like(top), torch.zeros_like(top)
        else:
            # Where every weight so far is zero, what they were divided by says nothing of those to come.
            top = torch.where(self._sum > 0, torch.maximum(top, self._top), top)
        top = torch.where(top.isfinite(), top, torch.zeros_like(top))
        weights = (log_weights - top).exp()
        before = torch.where(self._sum > 0, (self._top - top).exp(), 0.0)
        self._sum = self._sum * before + weights.sum(0)
        self._squares = self._squares * before.square() + weights.square().sum(0)
        self._top = top

    def result(self) -> tuple[Tensor, Tensor]:
        """Log of the mean weight (B,), and its standard error by the delta method (B,), in nats.

        Raises:
            ValueError: nothing was added.
        """
        if self._top is None or self._sum is None or self._squares is None:
            raise ValueError("no log-weights were added")
        value = self._top + self._sum.log() - math.log(self.count)
        if self.count == 1:
            return value, torch.full_like(value, math.inf)
        # Relative variance of the weights: E w^2 / (E w)^2 - 1, never below 0 by rounding.
        relative = (self.count * self._squares / self._sum.square() - 1.0).clamp(min=0.0)
        error = (relative / (self.count - 1)).sqrt()
        return value, torch.where(self._sum > 0, error, torch.full_like(error, math.inf))

    def evidence(self, cost: int) -> Evidence:
        """The result as an estimate of log p(x) that took so many evaluations of the model per datapoint."""
        return Evidence(*self.result(), cost, torch.cat(self._kept) if self._kept else None)
