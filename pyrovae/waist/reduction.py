"""Two traces, of a guide and of the model replayed against it, reduced to terms per datapoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrovae.waist.divergences import divergences
from pyrovae.waist.enumeration import enumerated_in_model, factor_of, sum_out
from pyrovae.waist.handlers import Draw
from pyrovae.waist.particles import Detail, Particles
from pyrovae.waist.sites import Layout, Site, sample_sites
from pyrovae.waist.structure import check_shared, check_structure
from pyrovae.waist.terms import density_of, has_path, is_point, log_prob_of, scale_beside


def reduce_traces(
    model_trace: poutine.Trace,
    guide_trace: poutine.Trace,
    num_particles: int,
    layout: Layout,
    *,
    linear: bool,
    detached: bool,
    draws: dict[str, Draw],
    detail: Detail = "none",
) -> Particles:
    """Sum the log-probabilities of two traces into the terms of `Particles`.

    Args:
        model_trace: of the model, replayed against the guide.
        guide_trace: of the guide.
        num_particles: K.
        layout: which plate holds the datapoints.
        linear: whether a scale inside a datapoint multiplies its log-probability, or is refused.
        detached: whether the draws were cut from the guide, all of them.
        draws: the leaves, if there are any.
        detail: whether the prior and each site's divergence are wanted, and how.
    """
    reading = _Reading(sample_sites(model_trace), sample_sites(guide_trace), layout, linear)
    points = [name for name, site in reading.in_guide.items() if is_point(site["fn"])]
    undrawn = reading.undrawn(detached)
    for name, log_prob in [*reading.model_outside.items(), *reading.guide_outside.items()]:
        check_shared(name, reading.site(name), log_prob, num_particles, layout)
    terms = reading.terms(num_particles, detail != "none")
    in_model, model_outside, guide_outside = (
        reading.in_model,
        reading.model_outside,
        reading.guide_outside,
    )
    return Particles(
        **terms,
        log_score=reading.score([name for name in undrawn if name not in reading.by_choice]),
        log_points=reading.total(reading.guide_local, points),
        divergences=None if detail == "none" else reading.divergences(terms, detail),
        log_model_outside=_sum(model_outside),
        log_observed_outside=_sum(
            model_outside, [n for n in in_model if in_model[n]["is_observed"]]
        ),
        log_guide_outside=_sum(guide_outside),
        log_score_outside=reading.score_outside(undrawn),
        log_points_outside=_sum(guide_outside, points),
        scale=layout.scale(reading.example),
        given=reading.given(),
        draws=draws,
        undrawn=tuple(name for name in undrawn if name not in reading.by_choice),
        made=reading.made(points) if detached else (),
        outside=tuple(sorted(model_outside.keys() | guide_outside.keys())),
    )


class _Reading:
    """The sites of two traces, sorted by where they lie, and their log-probabilities."""

    def __init__(
        self, in_model: dict[str, Site], in_guide: dict[str, Site], layout: Layout, linear: bool
    ) -> None:
        self.in_model, self.in_guide, self.layout = in_model, in_guide, layout
        self.enumerated = enumerated_in_model(in_model, in_guide)
        self.example = check_structure(in_model, in_guide, self.enumerated, layout)
        self.model_local, self.model_outside = self._split(in_model, linear, self.enumerated)
        self.guide_local, self.guide_outside = self._split(in_guide, linear, [])
        self.by_choice = [n for n, site in in_guide.items() if "_enumerate_dim" in site["infer"]]
        self.latent = [n for n in self.model_local if not in_model[n]["is_observed"]]

    def _split(
        self, sites: dict[str, Site], linear: bool, enumerated: list[Site]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Log-probabilities, or factors, of the sites inside the data plate, and of those outside it."""
        inside: dict[str, Any] = {}
        outside = {}
        plates = self.layout.plates
        for name, site in sites.items():
            if not self.layout.encloses(site):
                outside[name] = log_prob_of(name, site, plates=(), linear=True)
            elif enumerated:
                inside[name] = factor_of(site, enumerated, self.layout, linear=linear)
            else:
                inside[name] = log_prob_of(name, site, plates=plates, linear=linear)
        return inside, outside

    def total(self, log_probs: dict[str, Tensor], names: Iterable[str]) -> Any:
        """The sum of some sites per datapoint, (..., K, B), or None if there are none."""
        terms = [self.layout.per_datapoint(log_probs[n]) for n in names if n in log_probs]
        return sum(terms[1:], terms[0]) if terms else None

    def joint(self, names: Iterable[str]) -> Any:
        """Log p of some sites of the model, with the enumerated ones summed out."""
        if not self.enumerated:
            return self.total(self.model_local, names)
        chosen = {name: self.model_local[name] for name in names}
        return sum_out(chosen, self.in_model, self.enumerated, self.layout) if chosen else None

    def site(self, name: str) -> Site:
        """A site of the model or, if it has none of that name, of the guide."""
        return self.in_model[name] if name in self.in_model else self.in_guide[name]

    def undrawn(self, detached: bool) -> list[str]:
        """The guide's sites whose draws carry no gradient to the parameters they were drawn with."""
        return [
            name
            for name, site in self.in_guide.items()
            if not is_point(site["fn"]) and (detached or not has_path(site))
        ]

    def made(self, points: list[str]) -> tuple[str, ...]:
        """Those of some sites inside the plate that parameters went into, where no draw has a gradient."""
        inside = [name for name in points if name in self.guide_local]
        return tuple(name for name in inside if self.in_guide[name]["value"].requires_grad)

    def is_weighed(self, name: str) -> bool:
        """Whether a mask or a scale makes the cost of a site of the guide another than its density."""
        site = self.in_guide[name]
        scale = scale_beside(site, self.layout.plates if name in self.guide_local else ())
        return site["mask"] is not None or not isinstance(scale, float) or scale != 1.0

    def density(self, name: str) -> Tensor:
        """Log q that a site of the guide was drawn from, or that its values are enumerated with."""
        if self.is_weighed(name):
            return density_of(self.in_guide[name])
        return self.guide_local[name] if name in self.guide_local else self.guide_outside[name]

    def unweighed(self) -> Any:
        """What masks and scales leave out of the cost of the sites that the guide enumerates, or None."""
        weighed = [name for name in self.by_choice if self.is_weighed(name)]
        return self.total({n: self.density(n) - self.guide_local[n] for n in weighed}, weighed)

    def score(self, names: list[str]) -> Any:
        """Log q that some sites were drawn from, (K, B), with every draw counted once."""
        terms = []
        for name in names:
            if name in self.guide_local:
                term = self.layout.per_datapoint(self.density(name))
                terms.append(term.flatten(end_dim=-3).sum(0) if term.dim() > 2 else term)
        return sum(terms[1:], terms[0]) if terms else None

    def score_outside(self, names: list[str]) -> Any:
        """The same of sites outside the data plate, a scalar."""
        drawn = {n: self.density(n) for n in names if n in self.guide_outside}
        return _sum(drawn) if drawn else None

    def given(self) -> tuple[int, ...] | None:
        """The dimensions of enumerated sites that the drawn ones depend on, if all on the same."""
        found = set()
        for name, log_prob in self.guide_local.items():
            if name not in self.by_choice:
                shape = self.layout.per_datapoint(log_prob).shape
                found.add(tuple(d for d in range(-len(shape), -2) if shape[d] > 1))
        return next(iter(found), ()) if len(found) < 2 else None

    def terms(self, num_particles: int, detailed: bool) -> dict[str, Any]:
        """The terms of `Particles` that are (..., K, B), all of one shape."""
        drawn = [name for name in self.guide_local if name not in self.by_choice]
        terms = {
            "log_joint": self.joint(self.model_local),
            "log_guide": self.total(self.guide_local, drawn),
            "log_enumerated": self.total(
                {n: self.density(n) for n in self.by_choice}, self.by_choice
            ),
            "log_prior": self.joint(self.latent) if detailed else None,
        }
        free = self.unweighed()
        for name in ("log_joint", "log_prior"):
            # A weight subtracts the whole log_enumerated, which it is averaged or summed with.
            if free is not None and terms[name] is not None:
                terms[name] = terms[name] + free
        shapes = [term.shape for term in terms.values() if term is not None]
        batch = self.layout.batch(self.example)
        shape = torch.broadcast_shapes((num_particles, batch), *shapes)
        for name in ("log_joint", "log_guide", *(["log_prior"] if detailed else [])):
            if terms[name] is None:
                like = terms["log_joint"] if terms["log_guide"] is None else terms["log_guide"]
                terms[name] = like.new_zeros(shape)
        return {n: None if term is None else term.expand(shape) for n, term in terms.items()}

    def divergences(self, terms: dict[str, Any], detail: Detail) -> dict[str, Tensor]:
        """What each latent site costs; all as one where sites of the model are summed out."""
        if self.enumerated:
            own = terms["log_guide"]
            if terms["log_enumerated"] is not None:
                own = own + terms["log_enumerated"]
            return {"all latent sites": own - terms["log_prior"]}
        return divergences(
            {name: self.in_model[name] for name in self.latent},
            {name: self.in_guide[name] for name in self.guide_local},
            self.layout,
            terms["log_joint"].shape,
            analytic=detail in ("analytic", "by_dimension"),
            by_dimension=detail == "by_dimension",
        )


def _sum(terms: dict[str, Tensor], names: Iterable[str] | None = None) -> Any:
    return sum(terms[n].sum() for n in (terms if names is None else names) if n in terms)
