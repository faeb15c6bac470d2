"""Calibration: the exact posterior passes; too narrow, too wide and shifted ones do not."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.diagnostics import calibration
from pyrovae.guides import ExactPosterior, PerDatapoint
from pyrovae.models import GaussianMixture, ProbabilisticPCA
from pyrovae.programs import data_plate


def pca():
    torch.manual_seed(0)
    model = ProbabilisticPCA(6, latent=2).double()
    with torch.no_grad():
        model.weight.normal_()
    return model


def beside(model, shift=0.0, width=1.0):
    def guide(x, index=None, size=None):
        exact = model.posterior(x)
        with data_plate(len(x), index, size):
            loc = exact.loc + shift * exact.stddev
            pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=width * exact.scale_tril))

    return guide


X = torch.zeros(1, 6, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(4))
def test_the_exact_posterior_passes(seed):
    model = pca()
    found = calibration(model, ExactPosterior(model), X, seed=seed)
    assert found.p_value > 1e-3
    assert found.ranks.shape == (1000, 2)
    assert (found.ranks.min(), found.ranks.max()) == (0, 99)


@pytest.mark.parametrize(
    ("name", "settings"), [("narrow", {"width": 0.7}), ("wide", {"width": 1.5})]
)
def test_a_wrong_width_is_rejected_by_uniformity(name, settings):
    model = pca()
    found = calibration(model, beside(model, **settings), X)
    assert found.p_value < 1e-6
    assert (found.uniform < 1e-6).all()
    assert (found.symmetric > 1e-4).all()


def test_a_shift_is_rejected_by_both():
    model = pca()
    found = calibration(model, beside(model, shift=0.4), X)
    assert found.p_value < 1e-6
    assert (found.symmetric < 1e-6).all()


def test_a_table_of_rows_is_fitted_to_the_simulated_ones():
    model = pca()
    guide = PerDatapoint(3, 2, family="full").double()
    found = calibration(model, guide, X, simulations=200, refit_steps=300)
    assert found.p_value > 1e-3


def test_the_prior_passes_too():
    """What calibration cannot see: a guide that learns nothing is right on average over the model's data."""
    assert calibration(pca(), lambda x, **k: PerDatapoint(len(x), 2).double()(x), X).p_value > 1e-3


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(
        ValueError, match="simulations must be a whole number of at least 100; got 10"
    ):
        calibration(pca(), None, X, simulations=10)
    mixture = GaussianMixture(6, components=3)
    with pytest.raises(ValueError, match="no vector of numbers"):
        calibration(mixture, ExactPosterior(mixture), X.float())


@pytest.mark.parametrize("all_of_it", [True, False])
def test_rows_are_simulated_with_the_gaps_of_the_first(all_of_it):
    model, x = pca(), X.clone()
    x[:, 2:] = torch.nan

    def guide(x, index=None, size=None):  # exact, or as narrow as complete rows would have it
        exact = model.posterior(x if all_of_it else x.nan_to_num())
        with data_plate(len(x), index, size):
            pyro.sample("z", dist.MultivariateNormal(exact.loc, scale_tril=exact.scale_tril))

    assert (calibration(model, guide, x).p_value > 1e-3) is all_of_it


def test_a_latent_that_the_guide_does_not_draw_is_named():
    """It was a KeyError; and one outside the plate an IndexError."""

    def model(x):
        shared = pyro.sample("shared", dist.Normal(torch.tensor(0.0), 1.0))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(shared, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, 1.0))

    def shared(x):
        pyro.sample("shared", dist.Normal(torch.tensor(0.0), 1.0))
        guide(x)

    with pytest.raises(ValueError, match="does not draw 'shared' of the model"):
        calibration(model, guide, torch.zeros(3))
    with pytest.raises(ValueError, match="'shared' lies outside the plate 'data'"):
        calibration(model, shared, torch.zeros(3))
