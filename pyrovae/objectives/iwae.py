"""The importance-weighted bound."""

from __future__ import annotations

import math

from torch import Tensor

from pyrovae.objective import Gradient, Objective
from pyrovae.surrogates.baselines import Baseline
from pyrovae.surrogates.bounds import log_mean_exp


class IWAE(Objective):
    r"""The importance-weighted bound of each datapoint: the Renyi bound of order 0.

    .. math:: \mathcal{L}_K = \log \frac{1}{K} \sum_{k=1}^{K} w_k

    What it bounds: log p(x) from below in expectation, never less tightly than the ELBO of the same
    guide, and the more tightly the more particles; the gap falls as var(w) / (2 K p(x)^2).

    Gradient: of the model, unbiased, with a signal-to-noise ratio that grows as sqrt(K). Of the guide,
    ``"pathwise"`` is unbiased, but its ratio falls as 1 / sqrt(K); ``"dreg"`` is unbiased, and its ratio
    grows as sqrt(K); ``"stl"`` is biased for K > 1, by the score term that it drops. ``"score"`` and
    draws without a gradient take the leave-one-out baseline of VIMCO.

    Cost: K evaluations of model and guide per datapoint; ``"stl"`` and ``"dreg"`` go back through the
    model twice where the guide draws more than one site.

    When to use it: to fit a model as well as possible, rather than its posterior approximation; with
    ``gradient="dreg"`` from about 10 particles on.

    Args:
        num_particles: K; the bound rises to log p(x) as K grows.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: ``"pathwise"``, ``"dreg"``, ``"stl"`` or ``"score"``.
        baseline: of the score function: ``"leave_one_out"``, ``"moving_average"`` or ``"none"``.

    Returns:
        ``loss`` and its relatives return minus the bound of the data set, in nats: the scale N / B of a
        subsampled plate multiplies the bound of a datapoint, never its weights.

    Raises:
        ValueError: K below 1 or an unknown gradient.

    Source: Importance weighted autoencoders (Burda, Grosse & Salakhutdinov, 2016); its gradients:
    Tighter variational bounds are not necessarily better (Rainforth et al., 2018), Doubly
    reparameterized gradient estimators for Monte Carlo objectives (Tucker et al., 2019), Variational
    inference for Monte Carlo objectives (Mnih & Rezende, 2016).

    How to read it: with the guide held, its rise from K = 1 to many particles is what the ELBO loses.

    Example:
        >>> import torch
        >>> IWAE(num_particles=2).bound(torch.tensor([[-1.0], [-1.0]]))
        tensor([-1.])
    """

    def __init__(
        self,
        *,
        num_particles: int = 10,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: Gradient = "pathwise",
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
        """Log-mean-exp over particles: (K, ...) -> (...), in nats."""
        return log_mean_exp(log_weights)

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """Normalised weights, (K, B)."""
        return log_weights.softmax(0)

    def dreg_coefficients(self, log_weights: Tensor) -> Tensor:
        """Squares of the normalised weights, (K, B)."""
        return log_weights.softmax(0).square()
