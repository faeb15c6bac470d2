"""The evidence lower bound."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae.objective import Gradient, Objective
from pyrovae.surrogates.baselines import Baseline
from pyrovae.waist.particles import Particles


class ELBO(Objective):
    r"""The evidence lower bound, averaged over K particles.

    .. math:: \mathcal{L} = \frac{1}{K} \sum_{k=1}^{K} \log w_k

    What it bounds: log p(x) from below; the gap is KL(q || p(z | x)), whatever K.

    Gradient: unbiased in all forms; its variance falls as 1 / K. ``"stl"`` and ``"dreg"`` are the same
    here, and have no variance left where the guide is the exact posterior. ``"score"`` needs no
    reparameterised draws and has by far the largest variance.

    Cost: K evaluations of model and guide per datapoint; ``"stl"`` and ``"dreg"`` go back through the
    model twice where the guide draws more than one site.

    When to use it: by default; where the guide's family holds the posterior; for a guide whose gap is to
    be read off, or a posterior approximation that covers no more than one mode.

    Args:
        num_particles: K; more particles lower the variance of the gradient, not the bias of the bound.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: ``"pathwise"``, ``"stl"``, ``"dreg"`` or ``"score"``.
        baseline: of the score function: ``"leave_one_out"`` (a moving average where K = 1),
            ``"moving_average"`` or ``"none"``.
        analytic_kl: take the Kullback-Leibler divergence of a site from its prior in closed form where
            Pyro knows it and the order of the guide's sites allows it; the value then differs from the
            sampled one, and not in expectation.

    Returns:
        ``loss`` and its relatives return minus the bound of the data set, in nats. A discrete site that
        the guide enumerates is averaged over exactly.

    Raises:
        ValueError: K below 1, an unknown gradient, or a closed form together with a gradient that needs
            the guide's density.

    Source: An introduction to variational methods for graphical models (Jordan, Ghahramani, Jaakkola &
    Saul, 1999); Auto-encoding variational Bayes (Kingma & Welling, 2014).

    How to read it: the larger the better; log p(x) less this is the Kullback-Leibler divergence from
    the guide to the posterior.

    Example:
        >>> import torch
        >>> ELBO().bound(torch.tensor([[-1.0], [-3.0]]))
        tensor([-2.])
    """

    linear = True

    def __init__(
        self,
        *,
        num_particles: int = 1,
        max_plate_nesting: float = math.inf,
        vectorize_particles: bool = True,
        gradient: Gradient = "pathwise",
        baseline: Baseline = "leave_one_out",
        analytic_kl: bool = False,
    ) -> None:
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            gradient=gradient,
            baseline=baseline,
        )
        if analytic_kl and gradient in ("stl", "dreg"):
            raise ValueError(
                f"gradient={gradient!r} leaves out the score of the guide's density, and with "
                "analytic_kl=True the divergence has no such term: use gradient='pathwise'"
            )
        self.analytic_kl = analytic_kl
        if analytic_kl:
            self.detail = "analytic"

    def bound(self, log_weights: Tensor) -> Tensor:
        """Mean over particles: (K, ...) -> (...), in nats."""
        return log_weights.mean(0)

    def reduced(self, particles: Particles) -> Tensor:
        """The terms of each particle, (K, B), averaged over what the guide enumerates."""
        if not self.analytic_kl or particles.divergences is None or particles.log_prior is None:
            return particles.averaged
        terms = particles.log_joint - particles.log_prior
        for divergence in particles.divergences.values():
            terms = terms - divergence
        return particles.average(terms)

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """The same for every particle, (K, B)."""
        return torch.full_like(log_weights, 1.0 / len(log_weights))

    def dreg_coefficients(self, log_weights: Tensor) -> Tensor:
        """The same again: where the bound is linear, there is no score to reparameterise."""
        return self.coefficients(log_weights)
