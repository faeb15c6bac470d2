"""The VAE's likelihoods are the densities they say, and it starts where the data are."""

import functools
import math

import pyro
import pytest
import torch
from pyro import poutine

from pyrovae import SVI, log_weights
from pyrovae.evidence import ImportanceSampling
from pyrovae.guides import Amortized
from pyrovae.models import VAE
from pyrovae.objectives import ELBO

LIKELIHOODS = ("gaussian", "fixed_gaussian", "bernoulli")


def data(likelihood, rows=50):
    x = torch.rand(rows, 6, dtype=torch.float64)
    return (x > 0.3).double() if likelihood == "bernoulli" else x


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_density_is_the_formula(likelihood):
    options = {"gaussian": {"floor": 0.1}, "fixed_gaussian": {"scale": 0.2}}.get(likelihood, {})
    model = VAE(6, latent=2, hidden=(5,), likelihood=likelihood, **options).double()
    x, z = data(likelihood, 3), torch.randn(3, 2, dtype=torch.float64)
    output = model.decoder(z)
    if likelihood == "bernoulli":
        p = output.sigmoid()
        expected = (x * p.log() + (1 - x) * (1 - p).log()).sum(-1)
    else:
        loc = output[:, :6]
        scale = torch.full_like(loc, 0.2)
        if likelihood == "gaussian":
            scale = 0.1 + torch.log1p(torch.exp(output[:, 6:] + math.log(math.e - 1)))
        expected = (-0.5 * ((x - loc) / scale) ** 2 - scale.log()).sum(-1)
        expected = expected - 3 * math.log(2 * math.pi)
    torch.testing.assert_close(model.decode(z).log_prob(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_program_is_prior_times_likelihood(likelihood):
    model = VAE(6, latent=2, likelihood=likelihood).double()
    x = data(likelihood, 3)
    trace = poutine.trace(model).get_trace(x)
    z = trace.nodes["z"]["value"]
    expected = model.prior().log_prob(z).sum() + model.decode(z).log_prob(x).sum()
    torch.testing.assert_close(trace.log_prob_sum(), expected)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_it_starts_at_the_mean_of_the_data(likelihood):
    model, x = VAE(6, latent=2, likelihood=likelihood).double(), data(likelihood)
    model.initialise(x)
    at_the_origin = model.decode(torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(at_the_origin.mean, x.mean(0).clamp(0.001, 0.999))
    if likelihood == "gaussian":
        spread = at_the_origin.base_dist.scale
        torch.testing.assert_close(spread, x.std(0, correction=0), rtol=1e-6, atol=0)


def test_a_constant_dimension_cannot_blow_up_the_density():
    model = VAE(3, latent=2, floor=0.01)
    x = torch.zeros(20, 3)
    model.initialise(x)
    with torch.no_grad():
        model.decoder.output_bias[3:] = -1e4
    largest = -3 * math.log(0.01 * math.sqrt(2 * math.pi))
    assert log_weights(model, Amortized(3, 2), x).max() < largest + 10


@pytest.mark.parametrize(
    "likelihood", ["bernoulli", "continuous_bernoulli", "discretised_logistic"]
)
def test_values_that_cannot_be_scored_are_refused_in_a_sentence(likelihood):
    """By every road, and not by a list of the values."""
    model, guide = VAE(6, latent=2, likelihood=likelihood), Amortized(6, 2)
    x = torch.full((50, 6), 1.5)
    stock = pyro.infer.SVI(model, guide, pyro.optim.Adam({}), pyro.infer.Trace_ELBO())
    adam = functools.partial(torch.optim.Adam, lr=1e-3)
    for score in (
        ImportanceSampling(num_particles=2).__call__,
        ELBO().loss,
        lambda model, guide, x: SVI(model, guide, adam, ELBO()).step(x),
        lambda model, guide, x: stock.step(x),
    ):
        with pytest.raises(ValueError, match="scale them|binarise them") as refused:
            score(model, guide, x)
        assert "tensor(" not in str(refused.value)


def test_grey_pixels_under_a_bernoulli_are_refused():
    model = VAE(6, latent=2, likelihood="bernoulli")
    model.check_data(data("bernoulli"))
    with pytest.raises(ValueError, match=r"other than 0 and 1.*form='binary'"):
        model.check_data(data("gaussian"))
    VAE(6, latent=2).check_data(data("gaussian"))


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="'poisson': the known ones are gaussian, fixed_gaussian"):
        VAE(6, likelihood="poisson")
    with pytest.raises(ValueError, match="latent must be a whole number of at least 1; got 0"):
        VAE(6, latent=0)
    with pytest.raises(ValueError, match=r"floor is 0\.0: it must be above 0"):
        VAE(6, floor=0.0)
    with pytest.raises(TypeError, match="'gaussian' has no scale; its options: floor"):
        VAE(6, scale=1.0)
    with pytest.raises(ValueError, match="activation is 'step'"):
        VAE(6, activation="step")
