"""Where the nats go: rate, distortion, mutual information, and the mismatch of the aggregated posterior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrovae.programs import Program, own_parameters
from pyrovae.sampling.particle_blocks import blocks
from pyrovae.sampling.posterior import rows_axis
from pyrovae.sampling.rows import as_rows
from pyrovae.waist.joint import density, draws
from pyrovae.waist.sites import Layout, find_layout, sites_of

AT_ONCE = 256  # draws compared with all datapoints at once


@dataclass(frozen=True)
class Information:
    r"""How a guide's bound divides, in nats per datapoint; ``elbo = -(rate + distortion)``.

    Attributes:
        rate: (B,), :math:`E_q[\log q(z \mid x) - \log p(z)]`, what z tells of x, at the prior's price.
        distortion: (B,), :math:`-E_q \log p(x \mid z)`, what z leaves open.
        mutual_information: of x and z under the data and the guide; at most the logarithm of the number of
            datapoints, since they are all the data there is.
        mismatch: :math:`KL(q(z) \| p(z))` between the guides' mixture over all datapoints and the prior;
            the rate is the sum of the two.
        standard_errors: of the means of rate, distortion, mutual information and mismatch, from the spread
            between datapoints, that of the draws included; NaN for a single datapoint.
    """

    rate: Tensor
    distortion: Tensor
    mutual_information: float
    mismatch: float
    standard_errors: dict[str, float]

    def means(self) -> dict[str, float]:
        """The four numbers, in nats per datapoint."""
        return {
            "rate": float(self.rate.mean()),
            "distortion": float(self.distortion.mean()),
            "mutual_information": self.mutual_information,
            "mismatch": self.mismatch,
        }


@torch.no_grad()
def information(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    num_particles: int = 10,
    seed: int = 0,
    **kwargs: Any,
) -> Information:
    r"""Divide a guide's bound into what z tells of x, what it leaves open, and what is wasted.

    .. math:: I_q(x; z) = E_{x} E_{q(z \mid x)} \log \frac{q(z \mid x)}{q(z)}, \qquad
              q(z) = \frac1N \sum_n q(z \mid x_n)

    The mixture q(z) is summed over all N datapoints given, so that nothing but the draws of z is estimated.

    Args:
        model: p(x, z).
        guide: q(z | x).
        x: (N, D), the datapoints; time grows as their square.
        num_particles: K, draws of z per datapoint.
        seed: of the draws.
        **kwargs: keyword arguments of both programs.

    Returns:
        An `Information`.

    Raises:
        ValueError: a guide that draws nothing or what the model has not, or enumerated latents.

    Source: ELBO surgery (Hoffman & Johnson, 2016); Fixing a broken ELBO (Alemi et al., 2018).

    How to read it: a rate near 0 is posterior collapse. A mutual information near log N says that z
    tells every datapoint from all others; a large mismatch says that draws from the prior land where no
    datapoint is, so that samples look unlike the data.

    Example:
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.guides import Amortized
        >>> found = information(ProbabilisticPCA(5, latent=2), Amortized(5, 2), torch.randn(20, 5))
        >>> found.rate.shape, found.mutual_information <= math.log(20)
        (torch.Size([20]), True)
    """
    x = as_rows(x, model, guide)
    layout = find_layout(model, guide, (x,), kwargs)
    if layout.enumerated:
        raise ValueError(
            "information is for guides that draw every latent, not for enumerated ones"
        )
    _check_latents(sites_of(model, x, **kwargs), sites_of(guide, x, **kwargs))
    terms: dict[str, list[Tensor]] = {"rate": [], "distortion": [], "told": []}
    with torch.random.fork_rng(), own_parameters():
        for count in blocks(num_particles, seed, size=1):
            run = draws(guide, (x,), kwargs, num_particles=count, layout=layout)
            found = density(model, run.values, (x,), kwargs, layout=layout)
            log_q = run.density.latent[0].double()
            aggregated = _aggregated(guide, run.values, x, kwargs, layout)
            terms["rate"].append(log_q - found.latent[0].double())
            terms["distortion"].append(-found.observed[0].double())
            terms["told"].append(log_q - aggregated)
    means = {name: torch.stack(parts).mean(0) for name, parts in terms.items()}
    means["wasted"] = means["rate"] - means["told"]
    error = {name: float(term.std() / len(term) ** 0.5) for name, term in means.items()}
    return Information(
        means["rate"],
        means["distortion"],
        float(means["told"].mean()),
        float(means["wasted"].mean()),
        {
            "rate": error["rate"],
            "distortion": error["distortion"],
            "mutual_information": error["told"],
            "mismatch": error["wasted"],
        },
    )


def _check_latents(in_model: Mapping[str, Any], in_guide: Mapping[str, Any]) -> None:
    if not in_guide:
        raise ValueError("the guide draws nothing, so that there is no z that could tell of x")
    extra = sorted(in_guide.keys() - in_model.keys())
    if extra:
        raise ValueError(
            f"the guide draws {', '.join(map(repr, extra))}, which the model has not, so that the density "
            "of its z alone is not known: information is for guides that draw the latents of the model only"
        )


def _aggregated(
    guide: Program, values: dict[str, Tensor], x: Tensor, kwargs: dict[str, Any], layout: Layout
) -> Tensor:
    """Log q(z_n) of one draw for each datapoint, (N,): its density under the guides of all of them."""
    axis = rows_axis(layout)
    # Datapoints become particles, each compared with the guides of all datapoints.
    each = {name: value.transpose(0, axis) for name, value in values.items()}
    rows = len(next(iter(each.values())))
    found = []
    for start in range(0, rows, AT_ONCE):
        some = {name: value[start : start + AT_ONCE] for name, value in each.items()}
        log_q = density(guide, some, (x,), kwargs, layout=layout).latent.double()
        found.append(log_q.logsumexp(1) - math.log(rows))
    return torch.cat(found)
