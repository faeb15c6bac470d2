"""Counts must be whole numbers, and what is none is named before any work."""

import numpy as np
import pytest
import torch

from pyrovae import data, diagnostics, evidence, guides, models, objectives
from pyrovae.compression import code_length
from pyrovae.em import em
from pyrovae.imputation import impute_many
from pyrovae.registry.plain import whole_number, whole_numbers
from pyrovae.representation import manifold


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "2", [2]])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda n: models.VAE(n, latent=2, hidden=[3]), "features"),
        (lambda n: models.VAE(4, latent=n, hidden=[3]), "latent"),
        (lambda n: models.HierarchicalVAE(4, lower=n), "lower"),
        (lambda n: models.ProbabilisticPCA(4, latent=n), "latent"),
        (lambda n: models.GaussianMixture(4, components=n), "components"),
        (lambda n: models.BernoulliMixture(4, components=n), "components"),
        (lambda n: guides.Amortized(n, 2, hidden=[3]), "features"),
        (lambda n: guides.Amortized(4, n, hidden=[3]), "latent"),
        (lambda n: objectives.IWAE(num_particles=n), "num_particles"),
        (lambda n: evidence.ImportanceSampling(num_particles=n), "num_particles"),
        (lambda n: evidence.ImportanceSampling(chunk_size=n), "chunk_size"),
        (lambda n: evidence.PriorMonteCarlo(num_particles=n), "num_particles"),
    ],
)
def test_what_is_no_count_is_named(make, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least 1; got "):
        make(value)


PCA = models.ProbabilisticPCA(4, latent=2)
EXACT, X = guides.ExactPosterior(PCA), torch.zeros(3, 4)


@pytest.mark.parametrize("value", [0, 2.5, True, None])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda n: diagnostics.unit_activity(EXACT, X, num_particles=n), "num_particles"),
        (lambda n: diagnostics.information(PCA, EXACT, X, num_particles=n), "num_particles"),
        (lambda n: diagnostics.predictive_check(PCA, EXACT, X, num_particles=n), "num_particles"),
        (lambda n: diagnostics.gaps(PCA, EXACT, X, family="full", steps=n), "steps"),
        (lambda n: diagnostics.calibration(PCA, EXACT, X, simulations=n), "simulations"),
        (lambda n: diagnostics.calibration(PCA, EXACT, X, draws=n), "draws"),
        (lambda n: code_length(PCA, EXACT, X, num_particles=n), "num_particles"),
        (lambda n: impute_many(PCA, EXACT, X, num_imputations=n), "num_imputations"),
        (lambda n: em(models.GaussianMixture(4, components=2), X, iterations=n), "iterations"),
        (lambda n: manifold(PCA, side=n), "side"),
    ],
)
def test_what_is_no_count_of_draws_is_named(call, name, value):
    """Zero draws were a guide that draws nothing, or an empty list of torch's."""
    with pytest.raises(
        ValueError, match=f"^{name} must be a whole number of at least [0-9]+; got "
    ):
        call(value)


def test_rows_held_out_are_counted(tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros((50, 4), "float32"))
    with pytest.raises(
        ValueError, match="^validation must be a whole number of at least 1; got 0.5"
    ):
        data.Streamed(tmp_path / "rows.npy", validation=0.5, test=5)
    with pytest.raises(ValueError, match="must leave some of the 50 rows to train on"):
        data.Streamed(tmp_path / "rows.npy", validation=45, test=5)


def test_numbers_of_numpy_are_counts():
    assert type(whole_number("n", np.int64(3), least=1)) is int
    whole_numbers(n=np.int32(2))
    assert type(objectives.IWAE(num_particles=np.int64(3)).num_particles) is int
    assert models.VAE(np.int64(4), latent=np.int64(2), hidden=[3]).latent == 2


@pytest.mark.parametrize("family", ["diagonal", "full", "flow", "categorical"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "discretised_logistic"])
def test_programs_made_with_numbers_of_numpy_run(family, likelihood):
    x = torch.ones(3, 4)
    options = {"latent": np.int64(2), "hidden": [np.int64(3)], "likelihood": likelihood}
    if family != "categorical":
        models.VAE(np.int64(4), **options)(x)
    guides.Amortized(np.int64(4), np.int64(2), hidden=[3], family=family)(x)
    guides.PerDatapoint(np.int64(3), np.int64(2), family=family)(x)
    with pytest.raises(ValueError, match="rows of 4 features are needed"):
        evidence.PriorMonteCarlo(num_particles=2)(models.VAE(np.int64(4), **options), None, x[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: objectives.IWAE(num_particles=None),
        lambda: evidence.ImportanceSampling(num_particles=None),
        lambda: models.VAE(None, latent=2, hidden=[3]),
    ],
)
def test_none_is_no_count(make):
    with pytest.raises(ValueError, match="must be a whole number of at least 1; got None"):
        make()
    assert evidence.ImportanceSampling(chunk_size=None).chunk_size is None
