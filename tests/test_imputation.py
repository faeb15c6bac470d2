"""Imputations against conditional distributions that are known exactly."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.guides import Amortized, ExactPosterior, MissingPixels
from pyrovae.imputation import impute, impute_many
from pyrovae.models import VAE, BernoulliMixture, GaussianMixture, ProbabilisticPCA

K = 4000


def conditional(loc, covariance, row):
    """Mean and covariance of the missing values of a row, given the others."""
    m, o = row.isnan(), ~row.isnan()
    gain = covariance[m][:, o] @ torch.linalg.inv(covariance[o][:, o])
    return loc[m] + gain @ (row[o] - loc[o]), covariance[m][:, m] - gain @ covariance[o][:, m]


def pca():
    model = ProbabilisticPCA(4, latent=2).double()
    with torch.no_grad():
        model.weight.normal_()
        model.raw_scale.fill_(-0.5)
    return model, model.loc, model.weight @ model.weight.mT + model.scale**2 * torch.eye(4).double()


def one_normal():
    """A mixture of one: given z, all of the dependence is in the covariance of x."""
    model = GaussianMixture(4, components=1, covariance="full").double()
    with torch.no_grad():
        model.below.normal_()
    part = model.decode(torch.tensor(0))
    return model, part.loc, part.covariance_matrix


def holes():
    torch.manual_seed(5)
    x = torch.randn(3, 4).double()
    x[0, 2:] = x[1, 0] = math.nan
    return x


@pytest.mark.parametrize("make", [pca, one_normal])
def test_the_single_imputation_is_the_conditional_mean(make):
    torch.manual_seed(0)
    model, loc, covariance = make()
    x = holes()
    found = impute(model, ExactPosterior(model), x, num_particles=K)
    assert torch.equal(found[~x.isnan()], x[~x.isnan()])
    for row, done in zip(x[:2], found[:2]):
        mean, spread = conditional(loc, covariance, row)
        error = spread.diagonal().sqrt() / K**0.5
        assert ((done[row.isnan()] - mean).abs() < 5 * error + 1e-9).all()


@pytest.mark.parametrize("make", [pca, one_normal])
def test_draws_have_the_conditional_covariance(make):
    torch.manual_seed(0)
    model, loc, covariance = make()
    x = holes()[:1]
    draws = impute_many(model, ExactPosterior(model), x, num_imputations=1500, num_particles=K)
    mean, spread = conditional(loc, covariance, x[0])
    missing = draws[:, 0, x[0].isnan()]
    assert ((missing.mean(0) - mean).abs() < 5 * (spread.diagonal() / 1000).sqrt()).all()
    # A variance from n draws has a relative error of sqrt(2 / n); some particles are drawn twice.
    assert (missing.T.cov() - spread).abs().max() < 5 * math.sqrt(2 / 1000) * spread.abs().max()
    assert torch.equal(draws[:, 0, :2], x[0, :2].expand(1500, 2))


def test_a_particle_that_is_chosen_often_has_a_draw_for_each_time():
    """Where weights are uneven, all choices fall on few particles: their x differ all the same."""
    torch.manual_seed(0)
    model, loc, covariance = one_normal()
    x = holes()[:1]
    draws = impute_many(model, ExactPosterior(model), x, num_imputations=1500, num_particles=2)
    mean, spread = conditional(loc, covariance, x[0])
    missing = draws[:, 0, x[0].isnan()]
    assert ((missing.mean(0) - mean).abs() < 5 * (spread.diagonal() / 1500).sqrt()).all()
    assert (missing.T.cov() - spread).abs().max() < 5 * math.sqrt(2 / 1500) * spread.abs().max()


def test_a_mixture_weighs_what_its_components_say():
    torch.manual_seed(0)
    model = GaussianMixture(3, components=4).double()
    x = torch.tensor([[0.3, math.nan, math.nan]]).double()
    expected = model.posterior(x).probs @ model.loc
    found = impute(model, ExactPosterior(model), x, num_particles=1)
    torch.testing.assert_close(found[:, 1:], expected[:, 1:])


def test_chunks_are_one_computation():
    model, _, _ = pca()
    x = holes()
    guide = ExactPosterior(model)
    state = torch.get_rng_state()
    whole = impute(model, guide, x, num_particles=60, chunk_size=60, seed=1)
    again = impute(model, guide, x, num_particles=60, chunk_size=60, seed=1)
    assert torch.equal(whole, again)
    assert torch.equal(state, torch.get_rng_state())
    many = impute_many(model, guide, x, num_imputations=3, num_particles=50, chunk_size=7)
    assert many.shape == (3, 3, 4)
    # Weights under a poor guide differ, and chunks must be weighed against each other.
    poor = Amortized(4, 2, hidden=()).double()
    found = impute(model, poor, x, num_particles=40 * K, chunk_size=K)
    exact = impute(model, guide, x, num_particles=K)
    assert (found - exact).abs().max() < 0.1


def test_vaes_of_any_likelihood_fill_in():
    x = torch.rand(5, 6)
    x[0] = x[1, 2] = math.nan
    for likelihood in ("gaussian", "student_t", "continuous_bernoulli", "discretised_logistic"):
        model = VAE(6, latent=2, hidden=(4,), likelihood=likelihood)
        filled = impute(model, Amortized(6, 2, hidden=(4,)), x, num_particles=10)
        draws = impute_many(model, Amortized(6, 2, hidden=(4,)), x, num_particles=10)
        assert filled.isfinite().all()
        assert draws.isfinite().all()


def test_what_cannot_be_filled_is_refused():
    model, _, _ = pca()
    with pytest.raises(
        ValueError, match="num_particles must be a whole number of at least 1; got 0"
    ):
        impute(model, ExactPosterior(model), holes(), num_particles=0)
    with pytest.raises(
        ValueError, match="num_imputations must be a whole number of at least 1; got 0"
    ):
        impute_many(model, ExactPosterior(model), holes(), num_imputations=0)
    images = torch.tensor([[1.0, math.nan, 0.0]])
    mixture = BernoulliMixture(3, components=2, draw_missing=True)
    with pytest.raises(ValueError, match="leaves the discrete latent 'z' out"):
        impute(mixture, MissingPixels(1, 3), images)


def bounded(x):
    """x between 0 and a limit z that is drawn: some draws of z have a weight of exactly zero."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Uniform(torch.zeros(()).double(), 1.0))
        high = z.unsqueeze(-1).expand(*z.shape, x.shape[-1])
        each = dist.Uniform(torch.zeros_like(high), high, validate_args=False)
        pyro.sample("x", each.mask(~x.isnan()).to_event(1), obs=x.nan_to_num())


def anywhere(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Uniform(torch.zeros(len(x)).double(), 1.0))


@pytest.mark.parametrize("chunk_size", [1, 4000])
def test_a_chunk_whose_weights_are_all_zero_counts_for_nothing(chunk_size):
    """The mean became NaN for good with the first such chunk."""
    x = torch.tensor([[0.9, math.nan], [0.2, math.nan], [2.0, math.nan]]).double()
    found = impute(bounded, anywhere, x, num_particles=4000, chunk_size=chunk_size)
    # The posterior of the limit goes with 1 / z above x, and its mean is halved.
    exact = (1 - x[:2, 0]) / -x[:2, 0].log() / 2
    assert ((found[:2, 1] - exact).abs() < 5 * 0.25 / (4000 * (1 - x[:2, 0])).sqrt()).all()
    assert found[2, 1].isnan()  # nothing that was drawn allows the row


def test_what_does_not_depend_on_the_latents_is_filled_in():
    """Torch had no dimension for the particles."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.tensor(0.0), 1.0))
            each = dist.Normal(torch.arange(3.0), 1.0).mask(~x.isnan())
            pyro.sample("x", each.to_event(1), obs=x.nan_to_num())

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.tensor(0.0), 1.0))

    x = torch.tensor([[math.nan, 5.0, math.nan], [1.0, 1.0, 1.0]])
    for particles in (1, 30):
        found = impute(model, guide, x, num_particles=particles)
        torch.testing.assert_close(found, torch.tensor([[0.0, 5.0, 2.0], [1.0, 1.0, 1.0]]))
    draws = impute_many(model, guide, x, num_imputations=2000, num_particles=30)[:, 0, 2]
    assert abs(float(draws.mean()) - 2.0) < 5 / 2000**0.5


def test_whole_numbers_have_nothing_to_fill_and_rows_have_columns():
    model = ProbabilisticPCA(2, latent=1)
    x = torch.tensor([[1, 2], [3, 4]])
    assert torch.equal(impute(model, ExactPosterior(model), x), x.to(torch.get_default_dtype()))
    with pytest.raises(
        ValueError, match=r"x has the shape \(3,\), but values are filled in by rows"
    ):
        impute(bounded, anywhere, torch.rand(3))
