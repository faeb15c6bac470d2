"""Draws from guides and models as plain tensors: posterior, prior, and data simulated from either."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.densities.missing import any_missing
from pyrovae.programs import Program, latent_sites, own_parameters
from pyrovae.sampling.particle_blocks import blocks
from pyrovae.sampling.rows import as_rows
from pyrovae.sources.seeds import generator_from
from pyrovae.waist.joint import Values, draws
from pyrovae.waist.sites import PARTICLES, Layout, Site, find_layout, sites_of


@dataclass(frozen=True)
class Replicates:
    """Data drawn from a model.

    Attributes:
        latents: by site, (K, plates, event) or, for one draw, without K.
        observed: by site, in the same way: what the model drew where it observes data.
    """

    latents: Values
    observed: Values


@torch.no_grad()
def posterior_draws(
    guide: Program,
    x: Tensor,
    *,
    num_particles: int,
    model: Program | None = None,
    seed: int = 0,
    **kwargs: Any,
) -> Values:
    """Draw from a guide, by running it: each site's values, (K, plates, event).

    Sites that are marked for enumeration are drawn like the others. With a ``model`` there are as many plates
    as the two have together, so that the draws can be given to it.

    Example:
        >>> from pyrovae.guides import Amortized
        >>> posterior_draws(Amortized(5, 2), torch.zeros(3, 5), num_particles=7)["z"].shape
        torch.Size([7, 3, 2])
    """
    x = as_rows(x, guide, model)
    first, second = (guide, None) if model is None else (model, guide)
    layout = replace(find_layout(first, second, (x,), kwargs, whole=True), enumerated=False)
    found: dict[str, list[Tensor]] = {}
    with torch.random.fork_rng(), own_parameters():
        for count in blocks(num_particles, seed):
            run = draws(guide, (x,), kwargs, num_particles=count, layout=layout)
            for name, value in run.values.items():
                found.setdefault(name, []).append(value)
    return {name: torch.cat(parts) for name, parts in found.items()}


def as_vectors(values: Values, rows: int) -> Tensor:
    """Draws of all sites side by side: (K, B, F), for sites whose only plate is that of B datapoints.

    Raises:
        ValueError: a site that is no number but a category, or that has something else where rows are.
    """
    categories = [name for name, value in values.items() if not value.is_floating_point()]
    if categories or not values:
        raise ValueError(
            f"the guide draws {', '.join(map(repr, categories)) or 'nothing'}, which is no vector of "
            "numbers: this diagnostic is for continuous latents"
        )
    for name, value in values.items():
        if value.shape[1] != rows:
            raise ValueError(
                f"the draws of {name!r} have the shape {tuple(value.shape)}, with {value.shape[1]} where the "
                f"{rows} datapoints are to be: this diagnostic is for sites without a plate left "
                "of that of the datapoints (move it to the right, or use an event dimension)"
            )
    return torch.cat(
        [value.flatten(2) if value.dim() > 2 else value[..., None] for value in values.values()], -1
    )


@torch.no_grad()
def simulate(model: Program, x: Tensor, *, seed: int | None = None, **kwargs: Any) -> Replicates:
    """Draw z and x from the model, for as many datapoints as ``x`` has rows; its values do not count.

    Args:
        model: p(x, z).
        x: (B, D), a template.
        seed: of the draws; None draws from the global random state as it is.
        **kwargs: keyword arguments of the model.
    """
    if seed is not None:
        with torch.random.fork_rng():
            torch.manual_seed(generator_from(seed).initial_seed())
            return simulate(model, x, **kwargs)
    observed = _observed(sites_of(model, x, **kwargs))
    with own_parameters(), poutine.block():
        trace = poutine.trace(poutine.uncondition(model)).get_trace(x, **kwargs)
    values = {name: site["value"] for name, site in latent_sites(trace).items()}
    return Replicates(
        {name: value for name, value in values.items() if name not in observed},
        {name: value for name, value in values.items() if name in observed},
    )


@torch.no_grad()
def replicate(
    model: Program, latents: Values, x: Tensor, *, seed: int = 0, **kwargs: Any
) -> Replicates:
    """Draw x from p(x | z) at given z: (K, plates, event) by observed site.

    Raises:
        ValueError: a latent site of the model that is not among ``latents``, or none that is.
    """
    sites = sites_of(model, x, **kwargs)
    observed = _observed(sites)
    missing = sorted(sites.keys() - latents.keys() - set(observed))
    if missing:
        raise ValueError(
            f"the guide does not draw {', '.join(map(repr, missing))}, so there is no p(x | z) to draw from: "
            "use a guide that draws every latent, such as guides.ExactPosterior"
        )
    known = {name: value for name, value in latents.items() if name in sites}
    if not known:
        raise ValueError("the model has no latent that a guide draws, so there is no p(x | z)")
    depth = max(value.dim() - sites[name]["fn"].event_dim for name, value in known.items())
    held = poutine.condition(poutine.uncondition(model), data=latents)
    # In a plate of the draws: x that does not depend on z is drawn as often as z.
    particles = pyro.plate(PARTICLES, len(next(iter(known.values()))), dim=-depth)
    with torch.random.fork_rng(), own_parameters(), poutine.block(), particles:
        torch.manual_seed(generator_from(seed).initial_seed())
        trace = poutine.trace(held).get_trace(x, **kwargs)
    return Replicates(latents, {name: trace.nodes[name]["value"] for name in observed})


def the_observed(replicates: Replicates, x: Tensor) -> Tensor:
    """The one observed site, of the shape of ``x`` but for leading draws.

    Raises:
        ValueError: the model observes more than one site, or something else than ``x``.
    """
    found = list(replicates.observed.values())
    if len(found) != 1 or found[0].shape[-x.dim() :] != x.shape:
        raise ValueError(
            f"the model observes {', '.join(map(repr, replicates.observed)) or 'nothing'}: to draw data "
            f"like x it must observe one site, of the shape {tuple(x.shape)}"
        )
    return found[0]


def as_incomplete(simulated: Tensor, x: Tensor) -> Tensor:
    """Simulated data (B, D) that lack what ``x`` (B, D) lacks, which says nothing of the latents."""
    return torch.where(x.isnan(), torch.nan, simulated) if any_missing(x) else simulated


def _observed(sites: dict[str, Site]) -> list[str]:
    return [name for name, site in sites.items() if site["is_observed"]]


def rows_axis(layout: Layout) -> int:
    """The axis of the datapoints in draws (K, plates, event)."""
    return layout.nesting + 1 + layout.dim
