"""The evidence lower bound."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrovae.objective import Objective
from pyrovae.particles import Particles


class ELBO(Objective):
    r"""The evidence lower bound, averaged over K particles.

    .. math:: \mathcal{L} = \frac{1}{K} \sum_{k=1}^{K} \log w_k \le \log p(x) \text{ in expectation}

    A discrete site that the guide enumerates is averaged over exactly.

    Args:
        num_particles: K; more particles lower the variance of the gradient, not the bias of the bound.
        max_plate_nesting: how many dimensions plates take; guessed if infinite.
        vectorize_particles: run all particles at once (default) or one after the other.
        gradient: ``"pathwise"``, ``"stl"``, ``"dreg"`` (here the same as ``"stl"``, and unbiased), or
            ``"score"``.

    Returns:
        ``loss`` and its relatives return minus the bound of the data set, in nats.

    Raises:
        ValueError: K below 1 or an unknown gradient.

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

    def bound(self, log_weights: Tensor) -> Tensor:
        """Mean over particles: (K, B) -> (B,), in nats."""
        return log_weights.mean(0)

    def local_bound(self, particles: Particles) -> Tensor:
        """The bound of each datapoint, (B,), averaged over what the guide enumerates."""
        return self.bound(particles.averaged)

    def coefficients(self, log_weights: Tensor) -> Tensor:
        """The same for every particle, (K, B)."""
        return torch.full_like(log_weights, 1.0 / len(log_weights))

    def dreg_coefficients(self, log_weights: Tensor) -> Tensor:
        """The same again: where the bound is linear, there is no score to reparameterise."""
        return self.coefficients(log_weights)
