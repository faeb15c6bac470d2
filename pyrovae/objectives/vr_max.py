"""The largest weight."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from pyrovae.objective import Objective
from pyrovae.surrogates.baselines import Baseline
from pyrovae.surrogates.bounds import renyi_bound, renyi_coefficients


class VRMax(Objective):
    r"""The largest of K log-weights: the Renyi bound of order minus infinity.

    .. math:: \mathcal{L}_{\max} = \max_{k} \log w_k

    What it bounds: nothing in general. It lies at most log K above the importance-weighted bound of the
    same particles, and so less than log K above log p(x) in expectation; it may lie on either side.

    Gradient: that of the one particle with the largest weight, unbiased for the expectation of the
    maximum (``"pathwise"``). ``"stl"`` leaves out the score and is biased for K > 1; there is no doubly
    reparameterised form, since which particle is the largest jumps. ``"score"`` and draws without a
    gradient take a leave-one-out baseline.

    Cost: K evaluations of model and guide per datapoint.

    When to use it: as the cheap stand-in for the IWAE that it was proposed as; read the fit by the
    evidence, never by this number.

    Args:
        num_particles: K.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: ``"pathwise"``, ``"stl"`` or ``"score"``.
        baseline: of the score function: ``"leave_one_out"``, ``"moving_average"`` or ``"none"``.

    Returns:
        ``loss`` and its relatives return minus the largest log-weight, summed over the data set, in nats.

    Raises:
        ValueError: K below 1 or an unknown gradient.

    Source: Renyi divergence variational inference (Li & Turner, 2016).

    How to read it: it grows with K without limit wherever the weights have no limit.

    Example:
        >>> import torch
        >>> VRMax(num_particles=2).bound(torch.tensor([[-1.0], [-3.0]]))
        tensor([-1.])
    """

    allowed_gradients = ("pathwise", "stl", "score")

    def __init__(
        self,
        *,
        num_particles: int = 10,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: Literal["pathwise", "stl", "score"] = "pathwise",
        baseline: Baseline = "leave_one_out",
    ) -> None:
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            gradient=gradient,
            baseline=baseline,
        )

    def bound(self, log_weights: Tensor) -> Tensor:
        """The maximum over particles: (K, ...) -> (...), in nats."""
        return renyi_bound(log_weights, -math.inf)

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """One for the largest weight, (K, B)."""
        return renyi_coefficients(log_weights, -math.inf)
