"""How much of the evidence a guide loses, and to what: its family, or its encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pyrovae.evidence import Exact, ImportanceSampling
from pyrovae.guides import PerDatapoint
from pyrovae.programs import ExactModel, Program, check, first_parameter
from pyrovae.refit import fit_rows
from pyrovae.registry.plain import whole_numbers
from pyrovae.sampling.elbo import elbo
from pyrovae.sampling.evidence_result import Evidence
from pyrovae.sampling.rows import as_rows

CHECK_PARTICLES = 200  # draws, the same at each look, that say whether fitting still helps
ROUNDS = 10


@runtime_checkable
class FamilyGuide(Protocol):
    """A guide that draws from a named family with numbers for each datapoint."""

    family_name: str
    latent: int

    def local_parameters(self, x: Tensor) -> Tensor:
        """What the family is given for each row, (B, size)."""
        ...


@dataclass(frozen=True)
class Gaps:
    """What is lost between log p(x) and a guide's bound, per datapoint, in nats; all (B,) float64.

    Attributes:
        log_evidence: log p(x).
        best_bound: the ELBO with the best parameters of the family for each datapoint.
        bound: the guide's own ELBO.
        log_evidence_error: standard error.
        best_bound_error: standard error.
        bound_error: standard error.
        rounds: rounds of optimisation until the best bound stopped rising.
        converged: whether it did.
    """

    log_evidence: Tensor
    best_bound: Tensor
    bound: Tensor
    log_evidence_error: Tensor
    best_bound_error: Tensor
    bound_error: Tensor
    rounds: int
    converged: bool

    @property
    def approximation(self) -> Tensor:
        """(B,), what the family cannot express."""
        return self.log_evidence - self.best_bound

    @property
    def amortization(self) -> Tensor:
        """(B,), what the encoder loses against the best of its family."""
        return self.best_bound - self.bound

    @property
    def inference(self) -> Tensor:
        """(B,), their sum."""
        return self.log_evidence - self.bound

    def means(self) -> dict[str, tuple[float, float]]:
        """Each gap's mean over datapoints, and the standard error that the draws give it."""
        count = len(self.bound)

        def error(*errors: Tensor) -> float:
            return float(sum(e.square().sum() for e in errors) ** 0.5) / count

        return {
            "approximation": (
                float(self.approximation.mean()),
                error(self.log_evidence_error, self.best_bound_error),
            ),
            "amortization": (
                float(self.amortization.mean()),
                error(self.best_bound_error, self.bound_error),
            ),
            "inference": (
                float(self.inference.mean()),
                error(self.log_evidence_error, self.bound_error),
            ),
        }


def gaps(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    family: str | None = None,
    evidence: Evidence | Callable[..., Evidence] | None = None,
    num_particles: int = 1000,
    steps: int = 500,
    learning_rate: float = 0.05,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> Gaps:
    r"""Divide what a guide loses into what its family cannot express and what its encoder misses.

    .. math:: \underbrace{\log p(x) - \mathcal{L}[q^*]}_{\text{approximation}} +
              \underbrace{\mathcal{L}[q^*] - \mathcal{L}[q]}_{\text{amortization}}, \qquad
              q^* = \arg\max_{q \in \text{family}} \mathcal{L}[q]

    Args:
        model: p(x, z), which does not move.
        guide: q(z | x).
        x: (B, D).
        family: of the best bound; None takes the guide's own, and starts where its encoder points.
        evidence: log p(x), or what estimates it; None takes the exact value where there is one, else
            importance sampling with the best guide of the family.
        num_particles: draws per datapoint for each bound.
        steps: gradient steps in a round; each round has half the learning rate of the one before.
        learning_rate: of the first round.
        tolerance: nats per datapoint; a round that raises the best bound by less is the last.
        seed: of the draws.

    Returns:
        `Gaps`.

    Raises:
        TypeError: no family is given and the guide does not name one.
        ValueError: a count below 1, or a family that does not draw what the model's latent is.

    Source: Inference suboptimality in variational autoencoders (Cremer, Li & Duvenaud, 2018).

    How to read it: a large approximation gap asks for a richer family, a large amortization gap for a
    larger encoder, longer training, or steps per datapoint (`guides.SemiAmortized`).

    Example:
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.guides import Amortized
        >>> found = gaps(ProbabilisticPCA(5, latent=2), Amortized(5, 2), torch.zeros(3, 5), steps=20)
        >>> sorted(found.means())
        ['amortization', 'approximation', 'inference']
    """
    x = as_rows(x, model, guide)
    whole_numbers(num_particles=num_particles, steps=steps)
    named = isinstance(guide, FamilyGuide)
    if family is None and not named:
        raise TypeError(
            f"{type(guide).__name__} does not say which family it draws from: name the one to compare "
            "it with, family='diagonal', 'full' or 'flow'"
        )
    chosen = family or guide.family_name  # type: ignore[attr-defined]
    best = PerDatapoint(len(x), _latent(model, guide), family=chosen).to(
        first_parameter(model, guide)
    )
    if named and chosen == guide.family_name:  # type: ignore[attr-defined]
        with torch.no_grad(), torch.random.fork_rng():
            best.table.copy_(guide.local_parameters(x))  # type: ignore[attr-defined]
    check(model, best, x)
    rounds, converged = _climb(model, best, x, steps, learning_rate, tolerance, seed)
    if evidence is None:
        evidence = (
            Exact() if isinstance(model, ExactModel) else ImportanceSampling(num_particles=5000)
        )
    found = evidence if isinstance(evidence, Evidence) else evidence(model, best, x, seed=seed)
    bound, bound_error = elbo(model, guide, x, num_particles=num_particles, seed=seed)
    best_bound, best_error = elbo(model, best, x, num_particles=num_particles, seed=seed)
    return Gaps(
        found.value,
        best_bound,
        bound,
        found.standard_error,
        best_error,
        bound_error,
        rounds,
        converged,
    )


def _climb(
    model: Program,
    best: PerDatapoint,
    x: Tensor,
    steps: int,
    learning_rate: float,
    tolerance: float,
    seed: int,
) -> tuple[int, bool]:
    """Fit until a round no longer helps: how many it took, and whether it came to that."""

    def height() -> float:
        return float(elbo(model, best, x, num_particles=CHECK_PARTICLES, seed=seed)[0].mean())

    before = height()
    for number in range(ROUNDS):
        fit_rows(
            model,
            best,
            x,
            steps=steps,
            learning_rate=learning_rate * 0.5**number,
            seed=seed + number,
        )
        after = height()
        if number and after - before < tolerance:
            return number + 1, True
        before = after
    return ROUNDS, False


def _latent(model: Program, guide: Program) -> int:
    for program in (guide, model):
        latent = getattr(program, "latent", None)
        if isinstance(latent, int):
            return latent
    raise TypeError(
        "neither the guide nor the model says how many latent dimensions there are: give one of them an "
        "attribute `latent`"
    )
