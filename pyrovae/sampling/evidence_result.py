"""What every estimator of log p(x) returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Curve:
    """A bound as a function of the number of particles.

    Attributes:
        num_particles: (S,), from 1 upwards.
        value: (S, B), the bound of each datapoint, in nats.
        standard_error: (S, B), in nats.
    """

    num_particles: Tensor
    value: Tensor
    standard_error: Tensor


@dataclass(frozen=True)
class Evidence:
    """An estimate of log p(x) for each datapoint.

    All values are float64, whatever the model's dtype.

    Attributes:
        value: (B,), log p(x) in nats.
        standard_error: (B,), of ``value``, in nats; 0 where it is exact.
        cost: evaluations of the model per datapoint; a gradient counts as one.
        log_weights: (K, B) in nats, where the estimator has them and was asked to keep them.
        curve: the bound at smaller numbers of particles, where the estimator has one.
        upper: (B,), an upper bound of the same quantity in nats, where the estimator has one.
        upper_standard_error: (B,), of ``upper``.
        simulated: (B, D), the datapoints that the numbers belong to, where they are not those given.
    """

    value: Tensor
    standard_error: Tensor
    cost: int
    log_weights: Tensor | None = None
    curve: Curve | None = None
    upper: Tensor | None = None
    upper_standard_error: Tensor | None = None
    simulated: Tensor | None = None

    def mean(self) -> tuple[float, float]:
        """The mean over datapoints in nats per datapoint, and its standard error.

        The error counts both the spread between datapoints and the noise of each estimate, so it says how
        far the mean over another sample of as many datapoints may lie.
        """
        count = len(self.value)
        spread = float(self.value.var()) if count > 1 else float(self.standard_error[0] ** 2)
        return float(self.value.mean()), (spread / count) ** 0.5
