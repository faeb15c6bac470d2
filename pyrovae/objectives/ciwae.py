"""A mixture of the ELBO and the importance-weighted bound."""

from __future__ import annotations

import math

from torch import Tensor

from pyrovae.objective import Gradient, Objective
from pyrovae.surrogates.baselines import Baseline
from pyrovae.surrogates.bounds import log_mean_exp


class CIWAE(Objective):
    r"""A combination of the ELBO and the importance-weighted bound of the same particles.

    .. math:: \mathcal{L}_{\beta} = \beta \, \frac{1}{K} \sum_{k=1}^{K} \log w_k
              + (1 - \beta) \log \frac{1}{K} \sum_{k=1}^{K} w_k

    What it bounds: log p(x) from below in expectation; between the ELBO and the IWAE.

    Gradient: unbiased under ``"pathwise"`` and ``"dreg"``, biased under ``"stl"`` for K > 1. For beta > 0
    the guide's signal-to-noise ratio does not fall to 0 as K grows: the ELBO's part grows as sqrt(K).

    Cost: K evaluations of model and guide per datapoint; ``"stl"`` and ``"dreg"`` go back through the
    model twice where the guide draws more than one site.

    When to use it: for a model fitted almost as by the IWAE, with a guide that goes on learning; small
    beta (0.05) gains most.

    Args:
        beta: the share of the ELBO, from 0 (the IWAE) to 1 (the ELBO).
        num_particles: K.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: ``"pathwise"``, ``"dreg"``, ``"stl"`` or ``"score"``.
        baseline: of the score function: ``"leave_one_out"``, ``"moving_average"`` or ``"none"``.

    Returns:
        ``loss`` and its relatives return minus the bound of the data set, in nats.

    Raises:
        ValueError: beta outside [0, 1].

    Source: Tighter variational bounds are not necessarily better (Rainforth et al., 2018).

    How to read it: a bound; compare fits of different beta by the evidence.

    Example:
        >>> import torch
        >>> CIWAE(beta=1.0, num_particles=2).bound(torch.tensor([[-1.0], [-3.0]]))
        tensor([-2.])
    """

    def __init__(
        self,
        *,
        beta: float = 0.05,
        num_particles: int = 10,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: Gradient = "pathwise",
        baseline: Baseline = "leave_one_out",
    ) -> None:
        if not 0 <= beta <= 1:
            raise ValueError(
                f"beta is {beta}: the share of the ELBO must be from 0 to 1; to weigh the divergence from "
                "the prior use objectives.Beta"
            )
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            gradient=gradient,
            baseline=baseline,
        )
        self.beta = float(beta)

    def bound(self, log_weights: Tensor) -> Tensor:
        """Mean and log-mean-exp over particles, mixed: (K, ...) -> (...), in nats."""
        if self.beta == 0:  # 0 times the log-weight of what is impossible is no number
            return log_mean_exp(log_weights)
        return self.beta * log_weights.mean(0) + (1.0 - self.beta) * log_mean_exp(log_weights)

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """beta / K + (1 - beta) v of the normalised weights v, (K, B)."""
        return self.beta / len(log_weights) + (1.0 - self.beta) * log_weights.softmax(0)

    def dreg_coefficients(self, log_weights: Tensor) -> Tensor:
        """beta / K + (1 - beta) v^2, (K, B)."""
        return self.beta / len(log_weights) + (1.0 - self.beta) * log_weights.softmax(0).square()
