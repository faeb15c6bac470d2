"""Monte Carlo with draws from the prior."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrovae.programs import Program, own_parameters
from pyrovae.registry.plain import whole_numbers
from pyrovae.sampling.evidence_result import Evidence
from pyrovae.sampling.moments import LogMoments
from pyrovae.sampling.particle_blocks import as_checked, blocks
from pyrovae.sampling.rows import as_rows
from pyrovae.waist.joint import draws
from pyrovae.waist.sites import find_layout


class PriorMonteCarlo:
    r"""Monte Carlo with draws from the prior: the mean likelihood of z that know nothing of x.

    .. math:: \hat p(x) = \frac{1}{K} \sum_{k=1}^{K} p(x \mid z_k), \qquad z_k \sim p(z)

    Args:
        num_particles: K, draws per datapoint.
        keep: whether to return the log-weights too, (K, B).

    Raises:
        ValueError: K below 1, or a model that has no weight per datapoint.

    Source: Monte Carlo theory, methods and examples (Owen, 2013), chapter 2.

    How to read it: unbiased, but where the posterior is a small part of the prior almost every draw
    misses it, and the estimate is far too low while its standard error looks small.

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> PriorMonteCarlo(num_particles=7)(ProbabilisticPCA(5, latent=2), None, torch.zeros(3, 5)).cost
        7
    """

    def __init__(self, *, num_particles: int = 1000, keep: bool = False) -> None:
        whole_numbers(num_particles=num_particles)
        self.num_particles = num_particles
        self.keep = keep

    @torch.no_grad()
    def __call__(
        self, model: Program, guide: Program | None, x: Tensor, *, seed: int = 0, **kwargs: Any
    ) -> Evidence:
        """Estimate log p(x) of each row of ``x`` (B, D); the guide is not used."""
        x = as_rows(x, model, guide)
        layout = find_layout(model, None, (x,), kwargs)
        total = LogMoments(keep=self.keep)
        with torch.random.fork_rng(), own_parameters():
            for number, count in enumerate(blocks(self.num_particles, seed)):
                with as_checked(number):
                    run = draws(model, (x,), kwargs, num_particles=count, layout=layout)
                total.add(run.density.observed.expand(count, -1))
        return total.evidence(self.num_particles)
