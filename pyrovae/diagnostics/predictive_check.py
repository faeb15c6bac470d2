"""Whether data drawn from the fitted model look like the data it was fitted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrovae.programs import Program
from pyrovae.sampling.posterior import posterior_draws, replicate, the_observed
from pyrovae.sampling.rows import as_rows

ROUNDING = 1e-13  # of a mean in double precision, as a share of the values
Statistic = Callable[[Tensor], Tensor]

STATISTICS: dict[str, Statistic] = {
    "mean": lambda x: x.mean(-1),
    "standard deviation": lambda x: x.std(-1),
    "smallest": lambda x: x.amin(-1),
    "largest": lambda x: x.amax(-1),
    "roughness": lambda x: x.diff(dim=-1).square().mean(-1),
}


@dataclass(frozen=True)
class PredictiveCheck:
    """Statistics of the data and of data drawn in its place.

    Attributes:
        observed: by statistic, (B,), of each datapoint.
        replicated: by statistic, (K, B), of what the model draws in its place.
    """

    observed: dict[str, Tensor]
    replicated: dict[str, Tensor]

    def p_values(self) -> dict[str, float]:
        """By statistic: the share of replicated data sets whose mean statistic is above that of the data.

        Ties count half. Near 0 or 1 says that the model's data are below or above the real ones. Rows
        whose statistic is not a number, as where values are missing, are left out; NaN if none is left.
        """
        found = {}
        for name, value in self.observed.items():
            known = ~value.isnan()
            there, here = self.replicated[name][:, known].mean(1), value[known].mean()
            # Sums of the same numbers in another order are ties too.
            rounding = ROUNDING * value[known].abs().mean()
            difference = torch.where((there - here).abs() <= rounding, 0.0, there - here)
            found[name] = float(_share_above(difference).mean())
        return found

    def row_p_values(self) -> dict[str, Tensor]:
        """By statistic, (B,): the same of each datapoint by itself; NaN where it is not a number."""
        return {
            name: _share_above(self.replicated[name] - value).mean(0)
            for name, value in self.observed.items()
        }


def _share_above(difference: Tensor) -> Tensor:
    """1 above 0, a half at 0, and NaN where nothing can be said."""
    share = (difference > 0).double() + 0.5 * (difference == 0)
    return torch.where(difference.isnan(), torch.nan, share)


def predictive_check(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    statistics: Mapping[str, Statistic] | None = None,
    num_particles: int = 100,
    seed: int = 0,
    **kwargs: Any,
) -> PredictiveCheck:
    r"""Posterior-predictive check: statistics of the data against those of data drawn in its place.

    .. math:: p_T = P(T(x^{rep}) > T(x)), \qquad z \sim q(z \mid x), \quad x^{rep} \sim p(x \mid z)

    Args:
        model: p(x, z).
        guide: q(z | x).
        x: (B, D), or (B,) for D = 1; NaN is missing, and missing in the replicated data too.
        statistics: functions (..., D) -> (...) by name, of floating-point numbers; five simple ones by
            default.
        num_particles: K, replicated data sets.
        seed: of the draws.
        **kwargs: keyword arguments of both programs.

    Returns:
        A `PredictiveCheck`.

    Source: Posterior predictive assessment of model fitness via realized discrepancies (Gelman, Meng &
    Stern, 1996).

    How to read it: a p-value near 0.5 is what a good model gives; one near 0 or 1 names a feature of the
    data that the model does not reproduce, such as noise that it adds to pixels that are always blank.

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.guides import ExactPosterior
        >>> model = ProbabilisticPCA(5, latent=2)
        >>> check = predictive_check(model, ExactPosterior(model), 9 + torch.randn(20, 5))
        >>> check.p_values()["mean"]
        0.0
    """
    x = as_rows(x, model, guide)
    chosen = dict(STATISTICS if statistics is None else statistics)
    values = posterior_draws(
        guide, x, model=model, num_particles=num_particles, seed=seed, **kwargs
    )
    drawn = the_observed(replicate(model, values, x, seed=seed, **kwargs), x)
    if x.dim() == 1:
        x, drawn = x[:, None], drawn[..., None]
    if not x.is_floating_point():
        x, drawn = x.double(), drawn.double()
    drawn = torch.where(x.isnan(), torch.nan, drawn)
    return PredictiveCheck(
        {name: statistic(x).double() for name, statistic in chosen.items()},
        {name: statistic(drawn).double() for name, statistic in chosen.items()},
    )
