"""What each latent site costs: its log q - log p, or its Kullback-Leibler divergence where that is known."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from pyrovae.waist.sites import Layout, Site
from pyrovae.waist.terms import scale_beside


def divergences(
    in_model: dict[str, Site],
    in_guide: dict[str, Site],
    layout: Layout,
    shape: torch.Size,
    *,
    analytic: bool,
    by_dimension: bool,
) -> dict[str, Tensor]:
    r"""Return for every latent site of the guide what it costs, per particle and datapoint.

    .. math:: \log q(z_i \mid \cdot) - \log p(z_i \mid \cdot) \quad \text{or} \quad
              \mathrm{KL}(q(z_i \mid \cdot) \,\|\, p(z_i \mid \cdot))

    Both have the same expectation under the guide, as long as all that p(z_i) depends on was drawn before
    z_i in the guide; where the order of the guide does not say so, the first is taken.

    Args:
        in_model: the model's latent sites in the data plate, in the order of the model.
        in_guide: the guide's sites in the data plate, in the order of the guide.
        layout: which plate holds the datapoints.
        shape: (..., K, B), what the terms are expanded to.
        analytic: whether the divergence is wanted where it is known.
        by_dimension: whether to keep the dimensions of a factorised site apart, (..., K, B, L).
    """
    order = {name: i for i, name in enumerate(in_guide)}
    before: list[str] = []
    terms = {}
    for name, prior in in_model.items():
        if name not in in_guide:
            continue
        site = in_guide[name]
        ordered = all(order[earlier] < order[name] for earlier in before)
        before.append(name)
        q, p, event = _distributions(site, prior, by_dimension)
        term = _known(q, p, site, prior, layout) if analytic and ordered else None
        if term is None:
            term = _log_prob(q, site, event, layout) - _log_prob(p, prior, event, layout)
        terms[name] = _reduce(term, event, layout, shape)
    for name, site in in_guide.items():
        if name not in in_model:  # an auxiliary site has no prior
            terms[name] = _reduce(_log_prob(site["fn"], site, 0, layout), 0, layout, shape)
    return terms


def _distributions(site: Site, prior: Site, by_dimension: bool) -> tuple[Any, Any, int]:
    """The two distributions, without their event dimensions if both factorise, and how many those are."""
    q, p = site["fn"], prior["fn"]
    if by_dimension and isinstance(q, Independent) and isinstance(p, Independent):
        event = q.reinterpreted_batch_ndims
        if event == p.reinterpreted_batch_ndims:
            return q.base_dist, p.base_dist, event
    return q, p, 0


def _known(q: Any, p: Any, site: Site, prior: Site, layout: Layout) -> Tensor | None:
    """The divergence in closed form, or None where there is none."""
    # A Delta may carry a log-density (that of a transform), which its registered divergence leaves out.
    if isinstance(q, Delta) or not (_plain(site, layout) and _plain(prior, layout)):
        return None
    try:
        term: Tensor = kl_divergence(q, p)
    except NotImplementedError:  # how Pyro says that it has none for this pair; it is sampled then
        return None
    return term


def _plain(site: Site, layout: Layout) -> bool:
    scale = scale_beside(site, layout.plates)
    return site["mask"] is None and isinstance(scale, float) and scale == 1.0


def _log_prob(distribution: Any, site: Site, event: int, layout: Layout) -> Tensor:
    log_prob: Tensor = distribution.log_prob(site["value"])
    mask, scale = (
        each.reshape(each.shape + (1,) * event) if isinstance(each, Tensor) else each
        for each in (site["mask"], scale_beside(site, layout.plates))
    )
    return scale_and_mask(log_prob, scale, mask)


def _reduce(term: Tensor, event: int, layout: Layout, shape: torch.Size) -> Tensor:
    """Sum over inner plates and expand to (..., K, B), with the event's dimensions as one at the end."""
    if not event:
        return layout.per_datapoint(term).expand(shape)
    term = term.flatten(-event)
    missing = layout.nesting + 2 - term.dim()
    if missing > 0:
        term = term.reshape((1,) * missing + term.shape)
    first = layout.per_datapoint(term.movedim(-1, 0))
    return first.movedim(0, -1).expand(shape + (term.shape[-1],))
