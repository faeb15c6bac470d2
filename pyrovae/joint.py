"""The density of a program at given values of its latent sites, and those values as one tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.enum_messenger import EnumMessenger
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.distributions.transforms import Transform

from pyrovae.enumeration import enumerated_in_model, sum_out
from pyrovae.programs import Program
from pyrovae.sites import Layout, Site, frame_of, log_prob_of, sample_sites

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
        values: each site's values, (K, plates, event); K may be left out where it is 1, and either K or B
            may be 1, to be broadcast.
        args: its positional arguments.
        kwargs: its keyword arguments.
        layout: where the datapoints are, from `pyrovae.sites.find_layout`.

    Raises:
        ValueError: a site outside the plate over datapoints, so that no datapoint has a density of its own.
    """
    held = poutine.condition(program, data=values)
    with poutine.block():
        trace = poutine.trace(_enumerating(held, layout)).get_trace(*args, **kwargs)
    return reduce_density(trace, set(values), layout)


def prior_draws(
    model: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    num_particles: int,
    layout: Layout,
) -> tuple[Values, Density, dict[str, Site]]:
    """Draw the latent sites of a model from its prior, and the density there, in one run.

    Returns:
        The values by site, (K, plates, event), without sites left to enumeration; the densities; the
        sites themselves.
    """
    with poutine.block(), pyro.plate("particles", num_particles, dim=layout.particle_dim):
        trace = poutine.trace(model).get_trace(*args, **kwargs)
    sites = {
        name: site
        for name, site in sample_sites(trace).items()
        if not site["is_observed"] and site["infer"].get("enumerate") != "parallel"
    }
    values = {name: site["value"] for name, site in sites.items()}
    if layout.enumerated:
        # What was drawn for the enumerated sites is forgotten: they are summed out given the others.
        return values, density(model, values, args, kwargs, layout=layout), sites
    return values, reduce_density(trace, set(values), layout), sites


def _enumerating(program: Program, layout: Layout) -> Program:
    if not layout.enumerated:
        return program
    enumerating: Program = EnumMessenger(layout.particle_dim - 1)(program)
    return enumerating


def reduce_density(trace: poutine.Trace, latent: set[str], layout: Layout) -> Density:
    """Sum the sites of a trace per datapoint; ``latent`` names those that are not data."""
    sites = sample_sites(trace)
    outside = [name for name, site in sites.items() if frame_of(site, layout.plate) is None]
    if outside:
        raise ValueError(
            f"{', '.join(map(repr, outside))} lies outside the plate {layout.plate!r} and is shared by all "
            "datapoints, so a single datapoint has no log p(x): use an objective as a bound on the evidence "
            "of all of them together"
        )
    enumerated = enumerated_in_model(sites, dict.fromkeys(latent))
    log_probs = {
        name: log_prob_of(name, site, plate=layout.plate, linear=False)
        for name, site in sites.items()
    }
    summed = {site["name"] for site in enumerated}
    hidden = {name: log_probs[name] for name in log_probs if name in latent | summed}
    joint = _total(log_probs, sites, enumerated, layout)
    if not hidden.keys() - summed:
        return Density(torch.zeros_like(joint), joint)
    prior = _total(hidden, sites, enumerated, layout)
    return Density(*torch.broadcast_tensors(prior, joint))


def _total(
    log_probs: dict[str, Tensor], sites: dict[str, Site], enumerated: list[Site], layout: Layout
) -> Tensor:
    if enumerated:
        return sum_out(log_probs, sites, enumerated, layout)
    terms = [layout.per_datapoint(term) for term in log_probs.values()]
    return sum(terms[1:], terms[0])


@dataclass(frozen=True)
class _Slot:
    """How one site lies in the flat vector: its shape without K and B, and its change of variables."""

    shape: torch.Size
    transform: Transform | None


class Flat:
    """All continuous latents of a datapoint as one unconstrained vector.

    Args:
        sites: the latent sites of one run, from `prior_draws`.
        layout: where the datapoints are.

    Raises:
        ValueError: a discrete site, which has no gradient to follow.
    """

    def __init__(self, sites: dict[str, Site], layout: Layout) -> None:
        self.layout = layout
        self.slots: dict[str, _Slot] = {}
        for name, site in sites.items():
            support = site["fn"].support
            if support.is_discrete:
                raise ValueError(
                    f"the latent site {name!r} is discrete, so there is no gradient to follow: mark it "
                    "infer={'enumerate': 'parallel'} in the model to have it summed out, or use "
                    "evidence.ImportanceSampling"
                )
            transform = None if _is_real(support) else biject_to(support)
            value = site["value"] if transform is None else transform.inv(site["value"])
            self.slots[name] = _Slot(self._rows_second(value).shape[2:], transform)

    @property
    def size(self) -> int:
        """How many numbers a datapoint's latents are."""
        return sum(math.prod(slot.shape) for slot in self.slots.values())

    def _rows_second(self, value: Tensor) -> Tensor:
        """(K, plates, event) -> (K, B, the rest)."""
        return value.movedim(self.layout.nesting + 1 + self.layout.dim, 1)

    def pack(self, values: Values) -> Tensor:
        """Values by site -> (K, B, size)."""
        parts = []
        for name, slot in self.slots.items():
            value = values[name] if slot.transform is None else slot.transform.inv(values[name])
            parts.append(self._rows_second(value).flatten(2))
        return torch.cat(parts, -1)

    def unpack(self, flat: Tensor) -> tuple[Values, Tensor]:
        """(K, B, size) -> values by site, and (K, B) log |d values / d flat|."""
        log_det = flat.new_zeros(flat.shape[:2])
        values = {}
        sizes = [math.prod(slot.shape) for slot in self.slots.values()]
        for (name, slot), part in zip(self.slots.items(), flat.split(sizes, -1), strict=True):
            raw = part.unflatten(-1, slot.shape) if slot.shape else part.squeeze(-1)
            raw = raw.movedim(1, self.layout.nesting + 1 + self.layout.dim)
            if slot.transform is None:
                values[name] = raw
                continue
            values[name] = slot.transform(raw)
            jacobian = slot.transform.log_abs_det_jacobian(raw, values[name])
            rows = jacobian.movedim(self.layout.nesting + 1 + self.layout.dim, 1)
            log_det = log_det + rows.flatten(2).sum(-1) if rows.dim() > 2 else log_det + rows
        return values, log_det


def _is_real(support: Any) -> bool:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real or support is constraints.real_vector
