"""Summing discrete sites out of a model's joint density, by Pyro's own tensor contraction."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import opt_einsum
from pyro.ops.contract import contract_tensor_tree
from pyro.ops.packed import pack, unpack
from pyro.ops.rings import LogRing
from torch import Tensor

from pyrovae.waist.sites import Layout, Site


def enumerated_in_model(sites: dict[str, Site], drawn: dict[str, Site]) -> list[Site]:
    """Return the model's sites that were enumerated because the guide does not draw them."""
    return [
        site
        for name, site in sites.items()
        if name not in drawn and site["infer"].get("_enumerate_dim") is not None
    ]


def sum_out(
    log_probs: dict[str, Tensor], sites: dict[str, Site], enumerated: list[Site], layout: Layout
) -> Tensor:
    """Sum enumerated sites out of a joint density: log of the sum over their values of exp(terms).

    Args:
        log_probs: the log-probability of every site of the model inside the data plate.
        sites: those sites.
        enumerated: the sites to be summed out.
        layout: where the datapoints are.

    Returns:
        (..., K or 1, B), in nats; the leading dimensions are those the guide enumerates.
    """
    particles = opt_einsum.get_symbol(0)
    plates: dict[str, str] = {}
    to_dim = {particles: layout.particle_dim}
    factors: OrderedDict[frozenset[str], list[Any]] = OrderedDict()
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
        factors.setdefault(frozenset(ordinal), []).append(pack(log_prob, names))
    summed = {
        _enumerated_symbol(site["infer"]["_dim_to_id"][site["infer"]["_enumerate_dim"]])
        for site in enumerated
    }
    total: Any = 0.0
    for terms in contract_tensor_tree(factors, summed, ring=LogRing({})).values():
        for term in terms:
            total = total + layout.per_datapoint(unpack(term, to_dim))
    return total


def _enumerated_symbol(key: int) -> str:
    return str(opt_einsum.get_symbol(2 * key + 1))
