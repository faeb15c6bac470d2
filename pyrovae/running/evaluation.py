"""How well a fitted model explains rows it has not seen, and what its guide loses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.evidence import ImportanceSampling
from pyrovae.programs import ExactModel, Program, RowGuide, first_parameter
from pyrovae.refit import refit
from pyrovae.registry.plain import whole_number
from pyrovae.sampling.elbo import elbo_of
from pyrovae.sampling.psis import k_hat, threshold
from pyrovae.sources.dataset import DataSet
from pyrovae.sources.dataset import Part as PartName

ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Evaluation:
    """One number for each row, nats; larger is better. Standard errors are of the sampling.

    How to read it: where the share of rows whose k-hat is bad is large, the guide is too narrow for
    importance sampling, and log evidence estimated with it is too low by more than its standard error.

    Args:
        elbo: (n,) the evidence lower bound.
        elbo_se: (n,) its standard error.
        log_evidence: (n,) an estimate of log p(x).
        log_evidence_se: (n,) its standard error.
        exact: (n,) log p(x), or None if the model has no closed form.
        k_hat: (n,) shape of the tail of the weights that the bound is the mean of, without unit.
        k_hat_threshold: above it, so many weights cannot be trusted.
        guide: the guide that the first `ROWS_AT_ONCE` rows were scored with.
    """

    elbo: Tensor
    elbo_se: Tensor
    log_evidence: Tensor
    log_evidence_se: Tensor
    exact: Tensor | None
    k_hat: Tensor
    k_hat_threshold: float
    guide: Program

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """The best known log evidence and the bound of each row, under the names of a record's arrays."""
        return {
            "test_log_evidence": self.best_log_evidence.double().numpy(),
            "test_elbo": self.elbo.double().numpy(),
        }

    @property
    def best_log_evidence(self) -> Tensor:
        """(n,) the exact value where there is one, the estimate otherwise."""
        return self.log_evidence if self.exact is None else self.exact

    def words(self) -> dict[str, str]:
        """Means over the rows with the standard errors of these means, to be read."""
        found = {
            "log evidence": _with_error(self.log_evidence, self.log_evidence_se),
            "exact": "-" if self.exact is None else f"{float(self.exact.mean()):.2f}",
            "ELBO": _with_error(self.elbo, self.elbo_se),
        }
        return found | {"inference gap": f"{self.summary()['inference_gap']:.2f}"}

    def summary(self) -> dict[str, float | None]:
        """Means over the rows under the names of a record, with the standard errors of these means."""
        exact = None if self.exact is None else float(self.exact.mean())
        return {
            "test_elbo": float(self.elbo.mean()),
            "test_elbo_se": of_mean(self.elbo_se),
            "test_log_evidence": float(self.log_evidence.mean()),
            "test_log_evidence_se": of_mean(self.log_evidence_se),
            "exact_log_evidence": exact,
            "inference_gap": float((self.best_log_evidence - self.elbo).mean()),
            "k_hat_bad_share": self._k_hat_bad_share(),
        }

    def _k_hat_bad_share(self) -> float | None:
        """None where there are too few weights for a tail."""
        if bool(self.k_hat.isinf().all()):
            return None
        return float((self.k_hat > self.k_hat_threshold).double().mean())


def evaluate(
    model: Program,
    guide: Program,
    data: DataSet,
    estimator: Callable[..., Any],
    *,
    part: PartName = "test",
    elbo_particles: int = 1000,
    refit_steps: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Evaluate rows that were fixed by the data's split seed; nothing is trained but new rows' guides.

    Args:
        model: p(x, z), fitted.
        guide: q(z | x), fitted; one with parameters for every row is refitted to these rows, with the
            model frozen.
        data: where the rows come from.
        estimator: of the log evidence, one of `pyrovae.evidence`.
        part: which rows.
        elbo_particles: draws of z a row for the evidence lower bound and k-hat.
        refit_steps: optimiser steps where the guide is refitted.
        seed: of all draws; the global random state is left as it was found.

    Returns:
        An `Evaluation` of the rows, in their order.

    Raises:
        ValueError: fewer than 2 particles, or no steps.
    """
    whole_number("elbo_particles", elbo_particles, least=2)
    whole_number("refit_steps", refit_steps, least=1)
    found = []
    for x in rows_of_part(model, data, part).split(ROWS_AT_ONCE):
        own = (
            refit(model, guide, x, steps=refit_steps, seed=seed)
            if isinstance(guide, RowGuide)
            else guide
        )
        found.append(_rows(model, own, x, estimator, elbo_particles, seed))
    exact = [e.exact for e in found if e.exact is not None]
    return Evaluation(
        elbo=torch.cat([e.elbo for e in found]),
        elbo_se=torch.cat([e.elbo_se for e in found]),
        log_evidence=torch.cat([e.log_evidence for e in found]),
        log_evidence_se=torch.cat([e.log_evidence_se for e in found]),
        exact=torch.cat(exact) if exact else None,
        k_hat=torch.cat([e.k_hat for e in found]),
        k_hat_threshold=threshold(elbo_particles),
        guide=found[0].guide,
    )


def rows_of_part(model: Program, data: DataSet, part: PartName) -> Tensor:
    """(n, D): the rows of a part, where the model is and as precise, as the data's split seed fixed them."""
    return data.fixed(part).to(first_parameter(model)).detach()


def _rows(
    model: Program,
    guide: Program,
    x: Tensor,
    estimator: Callable[..., Any],
    particles: int,
    seed: int,
) -> Evaluation:
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        bound = ImportanceSampling(num_particles=particles, keep=True)
        drawn = cast(Tensor, bound(model, guide, x, seed=seed).log_weights)
        height, error = elbo_of(drawn, model, guide, x, seed=seed)
        estimate = estimator(model, guide, x, seed=seed)
        return Evaluation(
            elbo=height.cpu(),
            elbo_se=error.cpu(),
            log_evidence=estimate.value.cpu(),
            log_evidence_se=estimate.standard_error.cpu(),
            exact=model.exact_log_evidence(x).cpu() if isinstance(model, ExactModel) else None,
            k_hat=k_hat(drawn).cpu(),
            k_hat_threshold=threshold(particles),
            guide=guide,
        )


def _with_error(values: Tensor, standard_errors: Tensor) -> str:
    return f"{float(values.mean()):.2f} ± {of_mean(standard_errors):.2f}"


def of_mean(standard_errors: Tensor) -> float:
    """The standard error of the mean over rows whose own are these."""
    return float(standard_errors.double().square().sum().sqrt() / len(standard_errors))
