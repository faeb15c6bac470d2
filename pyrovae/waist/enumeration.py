"""Summing discrete sites out of a model's joint density, by Pyro's own tensor contraction."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import opt_einsum
from pyro.ops.contract import contract_tensor_tree
from pyro.ops.packed import pack, unpack
from pyro.ops.rings import LogRing
from torch import Tensor

from pyrovae.waist.sites import Layout, Site
from pyrovae.waist.terms import allowed_scale, density_of, masked_log_prob


class Factor(NamedTuple):
    """What one site contributes to a joint density: its log-probability, and the scale of it, apart."""

    log_prob: Tensor
    scale: float | Tensor


def enumerated_in_model(sites: dict[str, Site], drawn: dict[str, Site]) -> list[Site]:
    """Return the model's sites that were enumerated because the guide does not draw them."""
    return [
        site
        for name, site in sites.items()
        if name not in drawn and site["infer"].get("_enumerate_dim") is not None
    ]


def factor_of(site: Site, enumerated: list[Site], layout: Layout, *, linear: bool) -> Factor:
    """Return the factor of one site, inside the data plate, of a model with enumerated sites.

    Masks go inside the sum, but for that of a site summed out: its probabilities must go on adding up to 1.
    """
    summed = any(site is each for each in enumerated)
    log_prob = density_of(site) if summed else masked_log_prob(site)
    scale = allowed_scale(site["name"], site, plates=layout.plates, linear=linear)
    return Factor(log_prob, scale)


def sum_out(
    factors: dict[str, Factor], sites: dict[str, Site], enumerated: list[Site], layout: Layout
) -> Tensor:
    """Sum enumerated sites out of a joint density: log of the sum over their values of exp(terms).

    Args:
        factors: of the sites of the model inside the data plate.
        sites: those sites.
        enumerated: the sites to be summed out.
        layout: where the datapoints are.

    Returns:
        (..., K or 1, B), in nats; the leading dimensions are those the guide enumerates.

    Raises:
        ValueError: what is summed over has several scales, which cannot be multiplied by after the sum.
    """
    summed = {_own_symbol(site) for site in enumerated}
    free, inside = {}, {}
    for name, factor in factors.items():
        if _varies(factor, sites[name], summed):
            inside[name] = factor
        else:
            free[name] = _times(factor.log_prob, factor.scale)
    total: Any = _contracted(free, sites, set(), layout) if free else 0.0
    if not inside:
        return total
    log_probs = {name: factor.log_prob for name, factor in inside.items()}
    return total + _times(_contracted(log_probs, sites, summed, layout), _common_scale(inside))


def _contracted(
    log_probs: dict[str, Tensor], sites: dict[str, Site], summed: set[str], layout: Layout
) -> Any:
    particles = opt_einsum.get_symbol(0)
    plates: dict[str, str] = {}
    to_dim = {particles: layout.particle_dim}
    packed: OrderedDict[frozenset[str], list[Any]] = OrderedDict()
    for name, log_prob in log_probs.items():
        ordinal = {particles}
        names = {layout.particle_dim: particles}
        for frame in sites[name]["cond_indep_stack"]:
            if frame.vectorized:
                symbol = plates.setdefault(frame.name, opt_einsum.get_symbol(2 * len(plates) + 2))
                ordinal.add(symbol)
                names[frame.dim] = symbol
        for dim, key in sites[name]["infer"].get("_dim_to_id", {}).items():
            names[dim] = _enumerated_symbol(key)
        to_dim.update({symbol: dim for dim, symbol in names.items()})
        packed.setdefault(frozenset(ordinal), []).append(pack(log_prob, names))
    total: Any = 0.0
    for terms in contract_tensor_tree(packed, summed, ring=LogRing({})).values():
        for term in terms:
            total = total + layout.per_datapoint(unpack(term, to_dim))
    return total


def _common_scale(factors: dict[str, Factor]) -> float | Tensor:
    """The scale that all sites have that are summed over together."""
    first, (_, common) = next(iter(factors.items()))
    for name, (_, scale) in factors.items():
        if isinstance(scale, Tensor) and scale.numel() > 1:
            raise ValueError(
                f"the site {name!r} is summed over, and has a scale of shape {tuple(scale.shape)}: "
                "poutine.scale takes one number there"
            )
        if abs(float(scale) - float(common)) > 1e-6 * abs(float(common)):
            raise ValueError(
                f"the sites {first!r} and {name!r} are summed over together and have different scales "
                "inside their datapoint (from poutine.scale or a subsampled inner plate): give both the "
                "same scale, which then multiplies the logarithm of their sum"
            )
    return common


def _times(term: Tensor, scale: float | Tensor) -> Tensor:
    return term if isinstance(scale, float) and scale == 1.0 else term * scale


def _varies(factor: Factor, site: Site, summed: set[str]) -> bool:
    """Whether a site's log-probability depends on what is summed out."""
    shape = factor.log_prob.shape
    return any(
        -dim <= len(shape) and shape[dim] > 1 and _enumerated_symbol(key) in summed
        for dim, key in site["infer"].get("_dim_to_id", {}).items()
    )


def _own_symbol(site: Site) -> str:
    return _enumerated_symbol(site["infer"]["_dim_to_id"][site["infer"]["_enumerate_dim"]])


def _enumerated_symbol(key: int) -> str:
    return str(opt_einsum.get_symbol(2 * key + 1))
