"""The density of a program at given values of its latent sites."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.programs import Program
from pyrovae.waist.enumeration import Factor, enumerated_in_model, factor_of, sum_out
from pyrovae.waist.sites import PARTICLES, Layout, Site

Values = dict[str, Tensor]


@dataclass(frozen=True)
class Density:
    """A program's density at K values of its latent sites for each of B datapoints, in nats.

    Attributes:
        latent: (K, B), log p(z).
        joint: (K, B), log p(x, z): with the observed sites, which a guide has not.
    """

    latent: Tensor
    joint: Tensor

    @property
    def observed(self) -> Tensor:
        """(K, B), log p(x | z)."""
        return self.joint - self.latent


@dataclass(frozen=True)
class Run:
    """What one run of a program with particles leaves: the values of its latent sites, and their density.

    Attributes:
        values: by site, (K, plates, event), without sites left to enumeration.
        density: at these values.
        sites: the latent sites, by name.
    """

    values: Values
    density: Density
    sites: dict[str, Site]


def refuse_drawn_rows(msg: Any) -> None:
    """Refuse a plate that draws its rows itself, others in every run: no number belongs to any of them.

    Raises:
        ValueError: says how to give it its rows.
    """
    if not site_is_subsample(msg) or msg["value"] is not None:
        return
    size, count = msg["fn"].size, msg["fn"].subsample_size
    if count is not None and count < size:
        raise ValueError(
            f"the plate {msg['name']!r} draws {count} of its {size} rows anew in every run, so that draws "
            "and densities would belong to different rows: give it the rows, "
            f"pyro.plate({msg['name']!r}, {size}, subsample=rows), or all of them; an objective takes such a "
            "plate as it is"
        )


class RowsGiven(Messenger):
    """Refuses plates that draw their rows themselves, for runs that must all have the same."""

    def _pyro_sample(self, msg: Any) -> None:
        refuse_drawn_rows(msg)


class _Held(Messenger):
    """Holds sites at values, keeps what every site became, and lets nothing out but to enumeration.

    It does the work of several of Pyro's handlers in one, because estimators run a program for thousands
    of particles and each handler costs time at each site and parameter.
    """

    def __init__(self, values: Values, *, enumerated: bool) -> None:
        super().__init__()
        self.values = values
        self.stop = not enumerated
        self.sites: dict[str, Site] = {}

    def _process_message(self, msg: Any) -> None:
        refuse_drawn_rows(msg)
        if msg["type"] == "sample" and msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]
            msg["is_observed"] = True
        msg["stop"] = self.stop

    def _postprocess_message(self, msg: Any) -> None:
        if msg["type"] != "sample" or site_is_subsample(msg):
            return
        if not msg["infer"].get("_deterministic"):
            self.sites[msg["name"]] = msg


def density(
    program: Program,
    values: Values,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    layout: Layout,
) -> Density:
    """Run a program with its latent sites held at ``values``; sites left to enumeration are summed out.

    The caller decides whose parameters a module uses (`pyrovae.programs.own_parameters`).

    Args:
        program: a model or a guide.
        values: each site's values, (K, plates, event); either K or B may be 1, to be broadcast.
        args: its positional arguments.
        kwargs: its keyword arguments.
        layout: where the datapoints are, from `pyrovae.waist.sites.find_layout`.

    Raises:
        ValueError: a site outside the plate over datapoints, so that no datapoint has a density of its own,
            or a latent site that is neither held nor enumerated.
    """
    held = _Held(values, enumerated=layout.enumerated)
    with _enumeration(layout), held:
        program(*args, **kwargs)
    for name, site in held.sites.items():
        if not site["is_observed"] and "_enumerate_dim" not in site["infer"]:
            raise ValueError(
                f"the latent site {name!r} is drawn by one of the two programs only, so that it has no value "
                "in the other: draw it in both, or have it summed out by infer={'enumerate': 'parallel'}"
            )
    return reduce_density(held.sites, set(values), layout)


def draws(
    program: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    num_particles: int,
    layout: Layout,
) -> Run:
    """Draw the latent sites of a program, a model (from its prior) or a guide, K times for each datapoint."""
    held = _Held({}, enumerated=False)
    with held, pyro.plate(PARTICLES, num_particles, dim=layout.particle_dim):
        program(*args, **kwargs)
    sites = {
        name: site
        for name, site in held.sites.items()
        if not site["is_observed"]
        and not (layout.enumerated and site["infer"].get("enumerate") == "parallel")
    }
    values = {name: site["value"] for name, site in sites.items()}
    if layout.enumerated:
        # What was drawn for the enumerated sites is forgotten: they are summed out given the others.
        return Run(values, density(program, values, args, kwargs, layout=layout), sites)
    return Run(values, reduce_density(held.sites, set(values), layout), sites)


@contextmanager
def _enumeration(layout: Layout) -> Iterator[None]:
    if not layout.enumerated:
        yield
        return
    with poutine.block(), EnumMessenger(layout.particle_dim - 1):
        yield


def reduce_density(sites: dict[str, Site], latent: set[str], layout: Layout) -> Density:
    """Sum the log-probabilities of sites per datapoint; ``latent`` names those that are not data."""
    if not sites:  # a guide that draws nothing
        return Density(torch.zeros(1, 1), torch.zeros(1, 1))
    outside = [name for name, site in sites.items() if not layout.encloses(site)]
    if outside:
        raise ValueError(
            f"{', '.join(map(repr, outside))} lies outside the plate {layout.plate!r} and is shared by all "
            "datapoints, so a single datapoint has no log p(x): use an objective as a bound on the evidence "
            "of all of them together"
        )
    enumerated = enumerated_in_model(sites, dict.fromkeys(latent))
    summed = {site["name"] for site in enumerated}
    factors = {
        name: factor_of(site, enumerated, layout, linear=False) for name, site in sites.items()
    }
    joint = _total(factors, sites, enumerated, layout)
    if not latent:
        return Density(torch.zeros_like(joint), joint)
    if sites.keys() <= latent | summed:
        return Density(joint, joint)
    hidden = {name: factors[name] for name in factors if name in latent | summed}
    prior = _total(hidden, sites, enumerated, layout)
    return Density(*torch.broadcast_tensors(prior, joint))


def _total(
    factors: dict[str, Factor], sites: dict[str, Site], enumerated: list[Site], layout: Layout
) -> Tensor:
    if enumerated:
        return sum_out(factors, sites, enumerated, layout)
    terms = [layout.per_datapoint(factor.log_prob) for factor in factors.values()]
    return sum(terms[1:], terms[0])
