"""The ELBO of each datapoint, with as many draws as wanted and without keeping them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyrovae.programs import Program
from pyrovae.sampling.particle_blocks import score
from pyrovae.sampling.rows import as_rows
from pyrovae.waist.sites import find_layout


def elbo(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    num_particles: int = 1000,
    seed: int = 0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """The ELBO of each datapoint and its standard error: (B,) float64 each, in nats.

    Discrete sites that the guide enumerates are averaged over exactly, as `objectives.ELBO` does.
    The error of a single draw is infinite.

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.guides import ExactPosterior
        >>> model, x = ProbabilisticPCA(5, latent=2).double(), torch.zeros(3, 5).double()
        >>> bound, error = elbo(model, ExactPosterior(model), x, num_particles=10)
        >>> torch.allclose(bound, model.exact_log_evidence(x)), float(error.max()) < 1e-9
        (True, True)
    """
    x = as_rows(x, model, guide)
    sums: list[Tensor] = []
    squares: list[Tensor] = []

    def add(log_weights: Tensor) -> None:
        centre = log_weights.double() - (shift[0] if shift else 0.0)
        if not shift:
            shift.append(centre.mean(0))
            centre = centre - shift[0]
        sums.append(centre.sum(0))
        squares.append(centre.square().sum(0))

    shift: list[Tensor] = []
    score(model, guide, x, kwargs, add, num_particles=num_particles, seed=seed, averaged=True)
    mean = torch.stack(sums).sum(0) / num_particles
    variance = torch.stack(squares).sum(0) / num_particles - mean.square()
    if num_particles == 1:
        return shift[0], torch.full_like(mean, math.inf)
    return shift[0] + mean, (variance.clamp(min=0.0) / (num_particles - 1)).sqrt()


def elbo_of(
    log_weights: Tensor, model: Program, guide: Program, x: Tensor, *, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """The same from log-weights (K, B) that were kept; anew where they have summed out enumerated sites.

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.guides import ExactPosterior
        >>> model, x = ProbabilisticPCA(5, latent=2), torch.zeros(1, 5)
        >>> elbo_of(torch.tensor([[-1.0], [-3.0]]), model, ExactPosterior(model), x)[0]
        tensor([-2.], dtype=torch.float64)
    """
    count = len(log_weights)
    if find_layout(model, guide, (x,), {}).enumerated:
        return elbo(model, guide, x, num_particles=count, seed=seed)
    log_weights = log_weights.double()
    return log_weights.mean(0), log_weights.std(0) / count**0.5
