r"""What is subtracted from a bound before it multiplies a score, to lower the variance and add no bias.

The score-function gradient of a bound F of K particles is :math:`\sum_k (F - b_k) \, \partial \log q(z_k)`,
unbiased for every :math:`b_k` that does not depend on particle k. Two of them:

- leave-one-out: F with the log-weight of particle k replaced by the mean of the others;
- moving average: the mean of F over past steps, for a single particle.

Source: Neural variational inference and learning in belief networks (Mnih & Gregor, 2014); Variational
inference for Monte Carlo objectives (Mnih & Rezende, 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pyrovae.surrogates.bounds import leave_one_out

Baseline = Literal["leave_one_out", "moving_average", "none"]
Bound = Callable[[Tensor], Tensor]


class MovingAverage:
    """The mean of past values, newer ones counting more; 0 before the first.

    Its two tensors change in place, so that a recorded step moves them too.

    Example:
        >>> average = MovingAverage()
        >>> average.update(torch.tensor(3.0))
        >>> average.value()
        tensor(3., dtype=torch.float64)
    """

    def __init__(self, decay: float = 0.99) -> None:
        self.decay = decay
        self.total = torch.zeros((), dtype=torch.float64)
        self.weight = torch.zeros((), dtype=torch.float64)

    def value(self) -> Tensor:
        """The mean, a scalar."""
        return self.total / self.weight.clamp(min=1e-300)

    @torch.no_grad()
    def update(self, value: Tensor) -> None:
        """Take in a scalar."""
        if self.total.device != value.device:
            self.total, self.weight = self.total.to(value.device), self.weight.to(value.device)
        self.total.lerp_(value.detach().to(self.total.dtype), 1.0 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1.0 - self.decay)

    def tensors(self) -> dict[str, Tensor]:
        """What it remembers."""
        return {"total": self.total, "weight": self.weight}


def learning_signal(
    bound: Bound, log_weights: Tensor, baseline: Baseline, average: MovingAverage
) -> Tensor:
    """What each particle's score is multiplied by: the bound less its baseline, (K, B).

    Args:
        bound: (K, ...) -> (...), any function of the particles.
        log_weights: (K, B), in nats, detached.
        baseline: which one; leave-one-out needs two particles, and one takes the moving average.
        average: of the bound of a datapoint over past steps; it is updated.
    """
    value = bound(log_weights)
    if baseline == "leave_one_out" and len(log_weights) > 1:
        others = bound(leave_one_out(log_weights))
        # Where no other particle is possible there is no baseline: 0 does not depend on this one either.
        return value - others.masked_fill(~others.isfinite(), 0.0)
    if baseline == "none":
        return value.expand(log_weights.shape)
    signal = value - average.value().to(value.dtype)
    average.update(value.mean())
    return signal.expand(log_weights.shape)
