"""Likelihoods are densities: they sum or integrate to one, are the formulas, and start where data are."""

import math
from functools import partial
from unittest import mock

import pyro.distributions as dist
import pytest
import scipy.stats
import torch

from pyrovae.guides import Amortized
from pyrovae.likelihoods import LIKELIHOODS, make_likelihood
from pyrovae.likelihoods.discretised_logistic import DiscretisedLogistic
from pyrovae.models import VAE


def test_the_simplest_vae_is_the_formula():
    """p(x | z) = N(sigmoid(A z + c), diag exp(sigmoid(B z + d))), with theta = (A, B, c, d)."""
    model = VAE(4, latent=3, hidden=(), likelihood="bounded_gaussian").double()
    weight, bias = model.decoder.network.last.weight, torch.randn(8).double()
    with torch.no_grad():
        model.decoder.output_bias.copy_(bias)
    (a, b), (c, d) = weight.split(4), bias.split(4)
    z, x = torch.randn(5, 3).double(), torch.rand(5, 4).double()
    loc, variance = (z @ a.mT + c).sigmoid(), (z @ b.mT + d).sigmoid().exp()
    expected = torch.distributions.MultivariateNormal(loc, torch.diag_embed(variance)).log_prob(x)
    torch.testing.assert_close(model.decode(z).log_prob(x), expected, atol=1e-10, rtol=0)
    assert sum(p.numel() for p in model.parameters()) == 2 * (4 * 3 + 4)


@pytest.mark.parametrize("scale", [0.003, 0.05, 3.0])
@pytest.mark.parametrize("loc", [-0.5, 0.0, 0.33, 1.2])
def test_a_discretised_logistic_sums_to_one_and_has_the_mean_it_says(loc, scale):
    levels = torch.linspace(0, 1, 17, dtype=torch.float64)
    made = DiscretisedLogistic(*torch.tensor([loc, scale], dtype=torch.float64), 17)
    probabilities = made.log_prob(levels).exp()
    assert float(probabilities.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(made.mean) == pytest.approx(float((probabilities * levels).sum()), abs=1e-12)
    edges = torch.linspace(-1 / 32, 1 + 1 / 32, 18, dtype=torch.float64)
    cumulative = ((edges - loc) / scale).sigmoid()
    cumulative[0], cumulative[-1] = 0, 1
    torch.testing.assert_close(probabilities, cumulative.diff(), atol=1e-12, rtol=0)


def test_draws_of_a_discretised_logistic_have_its_probabilities():
    torch.manual_seed(0)
    made = DiscretisedLogistic(torch.tensor(0.3), torch.tensor(0.1), 5)
    levels, draws = torch.linspace(0, 1, 5), made.sample((40000,))
    assert set(draws.tolist()) <= set(levels.tolist())
    share = (draws[:, None] == levels).double().mean(0)
    p = made.log_prob(levels).exp().double()
    error = (p * (1 - p) / 40000).sqrt()
    assert ((share - p).abs() < 5 * error + 1e-9).all()


def test_the_rarest_draw_is_no_further_than_its_share():
    """A uniform number of 0 is one of 2^24 draws: it goes 17 scales down, and not to the end."""
    made = DiscretisedLogistic(torch.tensor(0.5), torch.tensor(0.01), 101)
    with mock.patch.object(torch, "rand", return_value=torch.zeros(())):
        assert float(made.sample()) == pytest.approx(0.33)


@pytest.mark.parametrize("logit", [-6.0, -0.3, 0.0, 2.0])
def test_a_continuous_bernoulli_integrates_to_one(logit):
    made = make_likelihood("continuous_bernoulli", 1).distribution(torch.tensor([[logit]]).double())
    grid = torch.linspace(0, 1, 20001, dtype=torch.float64)[:, None]
    density = made.log_prob(grid).exp()
    assert float(torch.trapezoid(density, grid[:, 0])) == pytest.approx(1.0, abs=1e-6)
    # A planted mistake: the Bernoulli's own formula is no density on [0, 1].
    plain = dist.Bernoulli(logits=torch.tensor(logit).double(), validate_args=False)
    assert abs(float(torch.trapezoid(plain.log_prob(grid[:, 0]).exp(), grid[:, 0])) - 1) > 0.1


@pytest.mark.parametrize("df", [3.5, 1e3, 1e6, 1e8])
def test_single_precision_keeps_students_t_where_it_is_nearly_a_normal(df):
    x = torch.linspace(-5.0, 5.0, 21)[:, None]
    numbers = torch.tensor([0.2, 0.3, df])
    made = make_likelihood("student_t", 1).distribution(numbers).expand((21,))
    loc, scale, df = (
        each.double() for each in (made.base_dist.loc, made.base_dist.scale, made.base_dist.df)
    )
    exact = scipy.stats.t(df, loc, scale).logpdf(x.double())
    torch.testing.assert_close(
        made.log_prob(x).double(), torch.as_tensor(exact)[:, 0], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_it_starts_at_the_mean_of_the_data_and_its_numbers_are_sizes(name):
    torch.manual_seed(0)
    likelihood = make_likelihood(name, 6)
    x = 0.05 + 0.9 * torch.rand(300, 6, dtype=torch.float64) ** torch.arange(1, 7)
    x = (x > 0.3).double() if name == "bernoulli" else x
    start = likelihood.start(x)
    assert start.shape == (likelihood.size,)
    made = likelihood.distribution(start)
    # The discretised logistic loses a little at its ends.
    torch.testing.assert_close(
        made.mean, x.mean(0), atol=0.04 if "logistic" in name else 1e-6, rtol=0
    )
    assert made.event_shape == (6,)
    x[:, 2] = math.nan
    assert likelihood.start(x).isfinite().all()


@pytest.mark.parametrize("name", ["continuous_bernoulli", "discretised_logistic"])
def test_values_out_of_range_are_refused(name):
    model = VAE(6, latent=2, likelihood=name)
    model.check_data(torch.tensor([[0.0, 1.0, math.nan]]))
    with pytest.raises(ValueError, match="lie between -1 and 2"):
        model.check_data(torch.tensor([[-1.0, 2.0]]))


def test_values_between_grey_levels_are_refused():
    model = VAE(6, latent=2, likelihood="discretised_logistic", levels=17)
    model.check_data(torch.tensor([[0.0, 3 / 16]]))
    with pytest.raises(ValueError, match="between the 17 grey levels"):
        model.check_data(torch.tensor([[0.0, 0.2]]))
    with pytest.raises(ValueError, match="at least 2 grey levels"):
        VAE(6, likelihood="discretised_logistic", levels=1)
    for levels in (256.5, "256", True, math.nan):
        with pytest.raises(
            ValueError, match="it must be a whole number, of at least 2 grey levels"
        ):
            VAE(6, likelihood="discretised_logistic", levels=levels)
    with pytest.raises(ValueError, match="floor is '0.1': it must be above 0"):
        VAE(6, likelihood="discretised_logistic", floor="0.1")
    with pytest.raises(TypeError, match="'bernoulli' has no levels"):
        VAE(6, likelihood="bernoulli", levels=17)


@pytest.mark.parametrize("network", ["mlp", "convolutional"])
def test_one_number_is_one_hidden_layer(network):
    one, listed = (VAE(16, hidden=hidden, network=network).state_dict() for hidden in (5, (5,)))
    assert {key: value.shape for key, value in one.items()} == {
        key: value.shape for key, value in listed.items()
    }


@pytest.mark.parametrize("shape", [None, (4, 4), (8, 2)])
def test_a_convolutional_vae_has_a_number_for_every_pixel(shape):
    model = VAE(16, latent=2, hidden=(6, 4), network="convolutional", shape=shape)
    guide = Amortized(16, 2, hidden=(4, 6), network="convolutional", shape=shape)
    x = torch.rand(5, 16)
    model.initialise(x)
    assert model.decode(torch.zeros(3, 5, 2)).mean.shape == (3, 5, 16)
    assert guide.local_parameters(x).shape == (5, 4)
    # Planes come first: the first half are the means, which begin where the data are.
    torch.testing.assert_close(model.decoder.output_bias[:16].detach(), x.mean(0))


def test_impossible_networks_are_refused():
    with pytest.raises(ValueError, match="features is 15, which is no image"):
        VAE(15, network="convolutional")
    with pytest.raises(ValueError, match=r"no image of shape \(3, 4\)"):
        VAE(15, network="convolutional", shape=(3, 4))
    for shape in ((-4, -4), (4, 4.0), 4, "44", (4, 4, 1)):
        with pytest.raises(
            ValueError, match="which is no image of shape .*: give its height and width"
        ):
            VAE(16, network="convolutional", shape=shape)
    for hidden in ((0,), (-3,), (4.0,), "4", None):
        for network in ("mlp", "convolutional"):
            for made in (VAE, partial(Amortized, latent=2)):
                with pytest.raises(
                    ValueError, match="hidden is .*: it must be the sizes of the layers"
                ):
                    made(16, hidden=hidden, network=network)
    with pytest.raises(ValueError, match="network is 'transformer'"):
        VAE(16, network="transformer")
    with pytest.raises(TypeError, match="shape is for network='convolutional'"):
        VAE(16, shape=(4, 4))
