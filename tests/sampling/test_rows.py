"""Rows in the forms people have them, given to estimators and diagnostics."""

import numpy as np
import pandas as pd
import pytest
import torch

from pyrovae import compression, diagnostics, evidence, imputation
from pyrovae.guides import Amortized
from pyrovae.models import ProbabilisticPCA
from pyrovae.sampling.elbo import elbo

FEW = {"chains": 2, "temperatures": 2, "pilot_chains": 2, "pilot_temperatures": 2}
OPTIONS = {
    "AnnealedImportanceSampling": FEW,
    "BidirectionalMonteCarlo": FEW,
    "Exact": {},
    "Quadrature": {"points": 5},
}
TAKERS = {
    name: getattr(evidence, name)(**OPTIONS.get(name, {"num_particles": 2}))
    for name in evidence.__all__
} | {
    "elbo": lambda *given: elbo(*given, num_particles=2),
    "information": lambda *given: diagnostics.information(*given, num_particles=2),
    "predictive_check": lambda *given: diagnostics.predictive_check(*given, num_particles=2),
    "to_inference_data": lambda *given: diagnostics.to_inference_data(*given, chains=1, draws=2),
    "unit_activity": lambda model, guide, x: diagnostics.unit_activity(guide, x, num_particles=2),
    "code_length": lambda *given: compression.code_length(*given, num_particles=2),
    "impute": lambda *given: imputation.impute(*given, num_particles=2),
}


def programs():
    torch.manual_seed(0)
    return ProbabilisticPCA(5, latent=2), Amortized(5, 2)


def numbers(found):
    found = getattr(found, "value", found)
    return found if isinstance(found, torch.Tensor) else None


@pytest.mark.parametrize("form", [np.asarray, pd.DataFrame, np.ndarray.tolist])
@pytest.mark.parametrize("name", TAKERS)
def test_arrays_frames_and_lists_are_rows(name, form):
    x = np.random.default_rng(0).normal(size=(6, 5))
    expected = numbers(TAKERS[name](*programs(), torch.tensor(x, dtype=torch.float32)))
    found = numbers(TAKERS[name](*programs(), form(x)))
    assert expected is None or torch.equal(found, expected)


@pytest.mark.parametrize("name", TAKERS)
def test_no_rows_and_one_row_by_itself_are_refused(name):
    with pytest.raises(ValueError, match="no rows|at least two of each"):
        TAKERS[name](*programs(), torch.zeros(0, 5))
    with pytest.raises(ValueError, match=r"a single row x is x\[None\]"):
        TAKERS[name](*programs(), torch.zeros(5))


def test_text_is_refused():
    with pytest.raises(TypeError, match="the data must be numbers"):
        evidence.Exact()(*programs(), np.array([["a", "b"]]))
