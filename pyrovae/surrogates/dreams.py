"""Data that a model dreams, for a guide to learn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrovae.programs import Program, RowGuide, own_parameters
from pyrovae.waist.sites import Layout, sample_sites
from pyrovae.waist.terms import log_prob_of


def dream(
    model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any], *, layout: Layout
) -> Tensor:
    r"""Log q(z' | x') of one draw (x', z') from the model for each datapoint of the batch.

    The guide is called with the dreamt values in place of the observed ones: each observed site must be
    given a tensor that is an argument of the programs, or a value in a dictionary that is one.

    Args:
        model: p(x, z), a Pyro program.
        guide: q(z | x), a Pyro program.
        args: positional arguments of both.
        kwargs: keyword arguments of both.
        layout: which plate holds the datapoints.

    Returns:
        (B,), in nats, differentiable by the guide's parameters.

    Raises:
        ValueError: an observed value that is no argument, or a guide with its own parameters per row.
    """
    if isinstance(guide, RowGuide):
        raise ValueError(
            "the parameters of this guide belong to rows of the data, and a dream is no such row: use "
            "insomnia=1, or a guide that reads x, such as guides.Amortized"
        )
    with own_parameters():
        with torch.no_grad():
            dreamt = poutine.trace(poutine.uncondition(model)).get_trace(*args, **kwargs)
        sites = sample_sites(dreamt)
        seen = {n: s for n, s in sites.items() if s["infer"].get("was_observed")}
        dreamt_args, dreamt_kwargs = _replaced(seen, args, kwargs)
        latents = {name: site["value"] for name, site in sites.items() if name not in seen}
        held = poutine.condition(guide, data=latents)
        trace = poutine.trace(held).get_trace(*dreamt_args, **dreamt_kwargs)
    for name, site in sample_sites(trace).items():
        if name not in latents and not site["is_observed"]:
            raise ValueError(
                f"the guide makes its latents of a site {name!r} that a dream has no value for: use "
                "insomnia=1, or a guide that draws the latents themselves"
            )
    terms = [
        layout.per_datapoint(log_prob_of(name, site, plates=layout.plates, linear=False))
        for name, site in sample_sites(trace).items()
        if layout.encloses(site)
    ]
    if not terms:
        return torch.zeros(1)
    return sum(terms[1:], terms[0])[0]


def _replaced(
    seen: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, with dreamt values in place of observed ones."""
    values = {id(site["infer"]["obs"]): site["value"] for site in seen.values()}
    found: set[int] = set()

    def replaced(argument: Any) -> Any:
        if id(argument) in values:
            found.add(id(argument))
            return values[id(argument)]
        if isinstance(argument, Mapping):
            return {key: replaced(value) for key, value in argument.items()}
        return argument

    result = tuple(map(replaced, args)), {key: replaced(value) for key, value in kwargs.items()}
    for name, site in seen.items():
        if id(site["infer"]["obs"]) not in found:
            raise ValueError(
                f"the observed site {name!r} is given a tensor that is no argument of the programs, so a "
                f"dreamt value cannot take its place: write pyro.sample({name!r}, ..., obs=x) with x as "
                "it was passed, or use insomnia=1"
            )
    return result
