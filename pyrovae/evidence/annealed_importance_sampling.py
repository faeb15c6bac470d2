"""Annealed importance sampling with Hamiltonian transitions."""

from __future__ import annotations

from typing import Any, Literal

import pyro
import torch
from torch import Tensor

from pyrovae.programs import Program, own_parameters
from pyrovae.sampling.annealed_model import AnnealedModel
from pyrovae.sampling.annealing import WARM_UP, anneal, check_counts, tune
from pyrovae.sampling.evidence_result import Evidence
from pyrovae.sampling.moments import LogMoments
from pyrovae.sampling.rows import as_rows


class AnnealedImportanceSampling:
    r"""Annealed importance sampling: chains from the prior (or a guide) to the posterior, as weights.

    .. math:: \hat p(x) = \frac{1}{C} \sum_{c=1}^{C} w_c, \qquad
              \log w = \sum_{t=1}^{T} (\beta_t - \beta_{t-1}) \log \frac{p(x, z_{t-1})}{q_0(z_{t-1})}

    Step sizes and masses are found by pilot chains and then frozen, so that the mean weight is unbiased;
    a step that follows its own chain's acceptance would not leave the densities of the path as they are.

    Args:
        chains: C, independent chains per datapoint.
        temperatures: T, densities on the way.
        leapfrogs: leapfrog steps in a transition.
        start: ``"prior"`` needs no guide; ``"guide"`` starts from the guide's draws, which are much nearer.
        pilot_chains: chains that find the steps.
        pilot_temperatures: densities on the pilots' way.

    Raises:
        ValueError: a count below 1, fewer than two pilot chains, an unknown start, or a model with a
            discrete latent that is not enumerated.

    Source: Annealed importance sampling (Neal, 2001); On the quantitative analysis of decoder-based
    generative models (Wu, Burda, Salakhutdinov & Grosse, 2017).

    How to read it: unbiased for p(x) as importance sampling is, but where a guide misses parts of the
    posterior, chains find them. `BidirectionalMonteCarlo` says how far off it is on data of the model's own.

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> estimator = AnnealedImportanceSampling(chains=4, temperatures=10)
        >>> estimator(ProbabilisticPCA(5, latent=2), None, torch.zeros(3, 5)).log_weights.shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        *,
        chains: int = 16,
        temperatures: int = 200,
        leapfrogs: int = 10,
        start: Literal["prior", "guide"] = "prior",
        pilot_chains: int = 16,
        pilot_temperatures: int = 100,
    ) -> None:
        check_counts(chains, temperatures, leapfrogs, pilot_chains, pilot_temperatures)
        if start not in ("prior", "guide"):
            raise ValueError(f"start is {start!r}: the known ones are prior, guide")
        self.chains = chains
        self.temperatures = temperatures
        self.leapfrogs = leapfrogs
        self.start = start
        self.pilot_chains = pilot_chains
        self.pilot_temperatures = pilot_temperatures

    def __call__(
        self, model: Program, guide: Program | None, x: Tensor, *, seed: int = 0, **kwargs: Any
    ) -> Evidence:
        """Estimate log p(x) of each row of ``x`` (B, D); the draws are a function of ``seed``."""
        x = as_rows(x, model, guide)
        start = guide if self.start == "guide" else None
        with torch.random.fork_rng(), own_parameters():
            torch.manual_seed(seed)
            annealed = AnnealedModel.of(model, start, (x,), kwargs)
            if not annealed.flat.slots:
                exact = annealed.without_latents()[0].double()
                return Evidence(exact, torch.zeros_like(exact), 1)
            with pyro.validation_enabled(False):
                pilots = 2 * (self.pilot_temperatures + WARM_UP + 1)
                ends = annealed.recorded((pilots + self.temperatures) * (self.leapfrogs + 1))
                path = tune(
                    ends,
                    annealed.draw(self.pilot_chains),
                    self.leapfrogs,
                    pilot_temperatures=self.pilot_temperatures,
                    temperatures=self.temperatures,
                )
                log_weights = anneal(ends, annealed.draw(self.chains), path, self.leapfrogs)
        total = LogMoments(keep=True)
        total.add(log_weights)
        return total.evidence(path.cost + self.chains * self.temperatures * (self.leapfrogs + 1))
