"""What one run of a model and a guide leaves behind: terms per particle and datapoint."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from pyrovae.waist.handlers import Draw

Detail = Literal["none", "sampled", "analytic", "by_dimension"]


@dataclass(frozen=True)
class Particles:
    """Terms of K particles of B datapoints, in nats, free of the scale N / B of the data plate.

    Attributes:
        log_joint: (..., K, B), log p(x, z) with the model's enumerated sites summed out. The leading
            dimensions are those of sites that the guide enumerates; there are none without them.
        log_guide: (..., K, B), log q(z | x) of the sites that the guide draws.
        log_enumerated: (..., K, B), log q(y | x) of the sites that the guide enumerates, or None; what masks
            and scales leave out of its cost is in ``log_joint`` and ``log_prior``.
        log_score: (K, B), log q that the draws without a gradient were made from, or None: without masks
            and scales, and once for each draw, whatever is enumerated.
        log_points: (..., K, B), the part of ``log_guide`` of sites made of others (a Delta), or None.
        log_prior: (..., K, B), the part of ``log_joint`` that is p(z) of the sites the guide draws or
            enumerates; None unless it was asked for.
        divergences: (..., K, B) or (..., K, B, L) by name: each latent site's log q - log p, or its
            Kullback-Leibler divergence; None unless asked for.
        log_model_outside: scalar, log p of all sites outside the data plate.
        log_observed_outside: scalar, the part of it that is observed.
        log_guide_outside: scalar, log q of all sites outside the data plate.
        log_score_outside: scalar, log q that those without a gradient were drawn from, or None.
        log_points_outside: scalar, the part of ``log_guide_outside`` of sites made of others.
        scale: N / B, the scale of the data plate.
        power: the power that prior and guide are raised to in a weight: 1, unless tempered.
        given: the leading dimensions (negative) that the draws depend on; None if sites differ in that.
        draws: the guide's reparameterised draws in the order they were made, if leaves were asked for.
        undrawn: names of the guide's sites whose draws carry no gradient.
        made: names of the guide's sites inside the plate that are made of other draws and of parameters.
        outside: names of the sites outside the data plate.
    """

    log_joint: Tensor
    log_guide: Tensor
    log_enumerated: Tensor | None = None
    log_score: Tensor | None = None
    log_points: Tensor | None = None
    log_prior: Tensor | None = None
    divergences: dict[str, Tensor] | None = None
    log_model_outside: Tensor | float = 0.0
    log_observed_outside: Tensor | float = 0.0
    log_guide_outside: Tensor | float = 0.0
    log_score_outside: Tensor | None = None
    log_points_outside: Tensor | float = 0.0
    scale: float | Tensor = 1.0
    power: float | Tensor = 1.0
    given: tuple[int, ...] | None = ()
    draws: dict[str, Draw] = field(default_factory=dict)
    undrawn: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def log_outside(self) -> Tensor | float:
        """Log p - log q of all sites outside the data plate; 0 without such sites."""
        return self.log_model_outside - self.log_guide_outside

    @property
    def log_terms(self) -> Tensor:
        """(..., K, B): log p - log q of the drawn sites, for every value of the enumerated ones."""
        if isinstance(self.power, float) and self.power == 1.0:
            return self.log_joint - self.log_guide
        terms = self.log_joint - self.power * self.log_guide
        return (
            terms
            if self.log_enumerated is None
            else terms + (1.0 - self.power) * self.log_enumerated
        )

    @property
    def log_weights(self) -> Tensor:
        """(K, B): log p - log q, with every enumerated site summed out."""
        if self.log_enumerated is None:
            return self.log_terms
        return self.log_terms.flatten(end_dim=-3).logsumexp(0)

    @property
    def averaged(self) -> Tensor:
        """(K, B): log p - log q, averaged over what the guide enumerates: the terms of the ELBO."""
        if self.log_enumerated is None:
            return self.log_terms
        terms = self.log_joint - self.power * (self.log_guide + self.log_enumerated)
        return self.average(terms)

    def average(self, terms: Tensor) -> Tensor:
        """Expectation over what the guide enumerates: (L, ..., K, B) -> (L, K, B), or without L."""
        if self.log_enumerated is None:
            return terms
        # A value of probability 0 counts 0 times, though its term, with log 0 in it, is no number.
        terms = terms.masked_fill(self.log_enumerated.isneginf(), 0.0)
        weighted = self.log_enumerated.exp() * terms
        return weighted.flatten(-self.log_enumerated.dim(), -3).sum(-3)

    def tempered(self, power: Tensor | float) -> Particles:
        """Raise prior and guide to a power: log w becomes log p(x | z) + power (log p(z) - log q(z))."""
        if self.log_prior is None:
            raise ValueError("these particles were run without detail, so their prior is not known")
        return replace(
            self,
            log_joint=self.log_joint + (power - 1.0) * self.log_prior,
            log_model_outside=power * (self.log_model_outside - self.log_observed_outside)
            + self.log_observed_outside,
            log_prior=power * self.log_prior,
            divergences=None
            if self.divergences is None
            else {name: power * term for name, term in self.divergences.items()},
            log_guide_outside=power * self.log_guide_outside,
            power=power,
        )


def concatenate(runs: list[Particles]) -> Particles:
    """Runs of one particle each, as one run of many."""

    def cat(name: str) -> Any:
        terms = [getattr(run, name) for run in runs]
        return None if terms[0] is None else torch.cat(terms, dim=-2)

    names = ("log_joint", "log_guide", "log_enumerated", "log_score", "log_points", "log_prior")
    first = runs[0].divergences
    parts = None
    if first is not None:
        # The particles' dimension is found from the right: a term per dimension has one more there.
        parts = {
            name: torch.cat([run.divergences[name] for run in runs if run.divergences], dim=dim)
            for name, dim in ((n, runs[0].log_joint.dim() - 2) for n in first)
        }
    draws = {f"{name}/{k}": draw for k, run in enumerate(runs) for name, draw in run.draws.items()}
    return replace(runs[0], **{name: cat(name) for name in names}, divergences=parts, draws=draws)
