"""Whether a guide's posteriors are as wide, and lie where, they should: simulation-based calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.programs import Program, RowGuide
from pyrovae.refit import refit
from pyrovae.registry.plain import whole_number
from pyrovae.sampling.posterior import (
    as_incomplete,
    as_vectors,
    posterior_draws,
    simulate,
    the_observed,
)
from pyrovae.sampling.rows import as_rows

BINS = 20


@dataclass(frozen=True)
class Calibration:
    """Ranks of the true latents among the guide's draws, and tests of them.

    Attributes:
        ranks: (M, F), how many of the S draws are below the truth: uniform on 0 ... S if the guide is exact.
        draws: S.
        uniform: (F,), p-value that ranks are uniform; small for a guide that is too narrow or too wide.
        symmetric: (F,), p-value that ranks are symmetric about S / 2; small for a guide that is shifted.
    """

    ranks: Tensor
    draws: int
    uniform: Tensor
    symmetric: Tensor

    @property
    def p_value(self) -> float:
        """Of all tests together: the smallest, times how many there are (Bonferroni)."""
        every = torch.cat([self.uniform, self.symmetric])
        return min(1.0, float(every.min()) * len(every))


def calibration(
    model: Program,
    guide: Program | RowGuide,
    x: Tensor,
    *,
    simulations: int = 1000,
    draws: int = 99,
    refit_steps: int = 1000,
    seed: int = 0,
    **kwargs: Any,
) -> Calibration:
    r"""Variational simulation-based calibration: ranks of true latents among a guide's draws.

    .. math:: z^*, x^* \sim p(z, x), \qquad r = \sum_{s=1}^{S} [z_s < z^*], \quad z_s \sim q(z \mid x^*)

    The paper compares the ranks with their own mirror image by a test for two samples, which are not
    independent of each other; here the signed ranks about the middle are tested (Wilcoxon), which asks the
    same, and uniformity besides (chi-square), which finds a wrong width too.

    Args:
        model: p(x, z), which the data are simulated from.
        guide: q(z | x); one with a table of rows is fitted to the simulated ones.
        x: (any, D); its first row says what a datapoint looks like, and which values are missing (NaN); the
            others do not count.
        simulations: M, simulated datapoints.
        draws: S, draws of the guide for each; S + 1 is best a multiple of 20.
        refit_steps: steps where the guide is refitted.
        seed: of everything drawn.
        **kwargs: keyword arguments of both programs.

    Returns:
        A `Calibration`.

    Raises:
        ValueError: too few simulations or draws for the tests, or latents that are no numbers, that the guide
            does not draw, or that all datapoints share.

    Source: Yes, but did it work? Evaluating variational inference (Yao, Vehtari, Simpson & Gelman, 2018);
    Validating Bayesian inference algorithms with simulation-based calibration (Talts et al., 2018).

    How to read it: with p-values above 0.001 nothing speaks against the guide on data like the model's
    own. It says nothing of data that the model cannot make.

    Example:
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.guides import ExactPosterior
        >>> model = ProbabilisticPCA(5, latent=2)
        >>> calibration(model, ExactPosterior(model), torch.zeros(1, 5)).p_value > 1e-3
        True
    """
    x = as_rows(x, model, guide)
    whole_number("simulations", simulations, least=5 * BINS)
    whole_number("draws", draws, least=BINS - 1)
    template = x[:1].expand(simulations, *x.shape[1:]).clone()
    drawn = simulate(model, template, seed=seed, **kwargs)
    simulated = as_incomplete(the_observed(drawn, template), template)
    own: Any = guide
    if isinstance(guide, RowGuide):
        own = refit(model, guide, simulated, steps=refit_steps, seed=seed)
    values = posterior_draws(own, simulated, num_particles=draws, seed=seed + 1, **kwargs)
    missing = sorted(drawn.latents.keys() - values.keys())
    if missing:
        raise ValueError(
            f"the guide does not draw {', '.join(map(repr, missing))} of the model, so that there is nothing "
            "to rank its true values among: use a guide that draws every latent"
        )
    truth = as_vectors({n: value[None] for n, value in drawn.latents.items()}, simulations)[0]
    z = as_vectors({name: values[name] for name in drawn.latents}, simulations)
    ranks = (z < truth).sum(0)
    uniform, symmetric = _tests(ranks.cpu().numpy(), draws)
    return Calibration(ranks, draws, torch.as_tensor(uniform), torch.as_tensor(symmetric))


def _tests(ranks: np.ndarray[Any, Any], draws: int) -> tuple[list[float], list[float]]:
    from scipy.stats import chisquare, wilcoxon

    edges = np.arange(draws + 1) * BINS // (draws + 1)  # the bin of each rank
    expected = np.bincount(edges, minlength=BINS) / (draws + 1) * len(ranks)
    uniform, symmetric = [], []
    for column in ranks.T:
        counts = np.bincount(edges[column], minlength=BINS)
        uniform.append(float(chisquare(counts, expected).pvalue))
        offset = column - draws / 2
        symmetric.append(float(wilcoxon(offset).pvalue) if offset.any() else 1.0)
    return uniform, symmetric
