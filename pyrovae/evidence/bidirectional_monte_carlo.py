"""Bidirectional Monte Carlo: a certificate for annealed importance sampling."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor

from pyrovae.programs import Program, own_parameters
from pyrovae.sampling.annealed_model import AnnealedModel
from pyrovae.sampling.annealing import APART, WARM_UP, anneal, anneal_back, check_counts, tune
from pyrovae.sampling.evidence_result import Evidence
from pyrovae.sampling.moments import LogMoments
from pyrovae.sampling.posterior import as_incomplete, simulate, the_observed
from pyrovae.sampling.rows import as_rows


class BidirectionalMonteCarlo:
    r"""Bidirectional Monte Carlo: log p(x) of simulated x, from below and from above.

    .. math:: z^*, x^* \sim p(z, x), \qquad
              \log \tfrac1C \textstyle\sum_c w_c \;\lesssim\; \log p(x^*) \;\lesssim\;
              -\log \tfrac1C \textstyle\sum_c w_c^{-1}

    The z that x was simulated with is an exact draw from its posterior, so chains can go both ways: up
    from the prior, and down from z. The gap between the two certifies `AnnealedImportanceSampling` with
    the same settings on data like the model's own.

    Args:
        chains: C, chains per datapoint and direction.
        temperatures: T, densities on the way.
        leapfrogs: leapfrog steps in a transition.
        pilot_chains: chains that find the steps.
        pilot_temperatures: densities on the pilots' way.

    Raises:
        ValueError: a count below 1, fewer than two pilot chains, or a model with a discrete latent.

    Source: Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse, Ghahramani &
    Adams, 2015).

    How to read it: ``value`` is the lower bound and ``upper`` the upper one, each right in expectation;
    their difference bounds the error of either. They belong to the simulated data, not to ``x``.

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> estimator = BidirectionalMonteCarlo(chains=4, temperatures=10)
        >>> estimator(ProbabilisticPCA(5, latent=2), None, torch.zeros(3, 5)).upper.shape
        torch.Size([3])
    """

    def __init__(
        self,
        *,
        chains: int = 16,
        temperatures: int = 200,
        leapfrogs: int = 10,
        pilot_chains: int = 16,
        pilot_temperatures: int = 100,
    ) -> None:
        check_counts(chains, temperatures, leapfrogs, pilot_chains, pilot_temperatures)
        self.chains = chains
        self.temperatures = temperatures
        self.leapfrogs = leapfrogs
        self.pilot_chains = pilot_chains
        self.pilot_temperatures = pilot_temperatures

    def __call__(
        self, model: Program, guide: Program | None, x: Tensor, *, seed: int = 0, **kwargs: Any
    ) -> Evidence:
        """Bound log p of simulated rows, as many as ``x`` (B, D) has, that lack what it lacks (NaN)."""
        x = as_rows(x, model, guide)
        with torch.random.fork_rng(), own_parameters(), pyro.validation_enabled(False):
            torch.manual_seed(seed)
            drawn = simulate(model, x, **kwargs)
            simulated = as_incomplete(the_observed(drawn, x), x)
            annealed = AnnealedModel.of(model, None, (simulated,), kwargs)
            if not annealed.flat.slots:
                raise ValueError(
                    "no latent of this model is left once the enumerated ones are summed out: use "
                    "evidence.Exact"
                )
            transitions = 2 * (self.pilot_temperatures + WARM_UP + 1)
            transitions += 2 * self.temperatures + APART
            ends = annealed.recorded(transitions * (self.leapfrogs + 1))
            path = tune(
                ends,
                annealed.draw(self.pilot_chains),
                self.leapfrogs,
                pilot_temperatures=self.pilot_temperatures,
                temperatures=self.temperatures,
            )
            up = anneal(ends, annealed.draw(self.chains), path, self.leapfrogs)
            exact = annealed.flat.pack({n: value[None] for n, value in drawn.latents.items()})
            exact = exact.expand(self.chains, -1, -1).contiguous()
            down = anneal_back(ends, exact, path, self.leapfrogs)
        lower, upper = LogMoments(), LogMoments()
        lower.add(up)
        upper.add(-down)
        (value, error), (inverse, upper_error) = lower.result(), upper.result()
        cost = path.cost + self.chains * (2 * self.temperatures + APART) * (self.leapfrogs + 1)
        return Evidence(
            value,
            error,
            cost,
            up,
            upper=-inverse,
            upper_standard_error=upper_error,
            simulated=simulated,
        )
