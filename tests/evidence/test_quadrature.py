"""Integrals over a grid, against closed forms."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.evidence import Exact, Quadrature
from pyrovae.models import VAE, ProbabilisticPCA


@pytest.mark.parametrize("latent", [1, 2])
@pytest.mark.parametrize("noise", [-4.0, 0.0, 2.0])
def test_probabilistic_pca_is_exact(latent, noise):
    model = ProbabilisticPCA(6, latent=latent).double()
    with torch.no_grad():
        model.weight.normal_(0, 2)
        model.raw_scale.fill_(noise)
    x = model.decode(torch.randn(5, latent, dtype=torch.float64)).sample()
    found = Quadrature()(model, None, x)
    torch.testing.assert_close(found.value, model.exact_log_evidence(x), rtol=0, atol=1e-9)
    assert (found.standard_error < 1e-6).all()


def test_modes_far_apart_are_all_counted():
    """x = |z| + noise has one mode for each sign of z."""

    def model(x, index=None, size=None):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_tensor(0.0), 1.0))
            pyro.sample("x", dist.Normal(z.square(), 0.05), obs=x)

    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    # By change of variables u = z^2, smoothed by the noise: compare with a brute-force grid.
    z = torch.linspace(-6, 6, 2_000_001, dtype=torch.float64)[:, None]
    log_joint = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z.square(), 0.05).log_prob(x)
    exact = log_joint.logsumexp(0) + math.log(12 / 2_000_000)
    found = Quadrature(points=401)(model, None, x)
    torch.testing.assert_close(found.value, exact, rtol=0, atol=1e-8)


def ridge(scale):
    """A posterior that is a ridge across both dimensions, as sharp as the noise of x is small."""

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(x.new_tensor(0.0), 1.0))
            b = pyro.sample("b", dist.Normal(x.new_tensor(0.0), 1.0))
            pyro.sample("x", dist.Normal(a + 0.7 * b, scale), obs=x)

    return model, dist.Normal(0.0, (1.49 + scale**2) ** 0.5)


def test_a_grid_is_made_finer_until_the_answer_settles():
    model, marginal = ridge(0.1)
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)
    found = Quadrature(points=11)(model, None, x)
    torch.testing.assert_close(found.value, marginal.log_prob(x), rtol=0, atol=1e-4)
    assert found.standard_error.max() < 1e-2
    assert found.cost > 7 * 11**2


def test_the_error_is_infinite_where_the_finest_grid_is_too_coarse():
    """It was 0.693 where the value was off by 64 nats."""
    model, marginal = ridge(0.003)
    x = torch.linspace(0.5, 3, 5, dtype=torch.float64)
    found = Quadrature()(model, None, x)
    assert (found.value - marginal.log_prob(x)).abs().max() > 1
    assert found.standard_error.isinf().all()


@pytest.mark.parametrize("scale", [0.01, 0.003])
def test_a_sharp_mode_between_the_first_points_is_not_left_out(scale):
    """One of two modes was: log p(x) too low by log 2 = 0.693, with a standard error of 0."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_tensor(0.0), 1.0))
            pyro.sample("x", dist.Normal(z.square(), scale), obs=x)

    x = torch.linspace(0.5, 2.5, 7, dtype=torch.float64)
    # Each mode apart, by the change of variables u = z^2, around which the noise is narrow.
    t = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[:, None]
    u = x + scale * t
    log_density = dist.Normal(0.0, 1.0).log_prob(u.sqrt()) - (2 * u.sqrt()).log()
    terms = log_density + dist.Normal(0.0, 1.0).log_prob(t)
    exact = terms.logsumexp(0) + math.log(24 / 20_000) + math.log(2)
    found = Quadrature()(model, None, x)
    torch.testing.assert_close(found.value, exact, rtol=0, atol=1e-6)
    assert found.standard_error.max() < 1e-3


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_counts_are_integrated_over_real_latents(dtype):
    """The grid took the type of x, so that z was a whole number: -0.657 for -0.963."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.tensor(0.0).double(), 1.0))
            pyro.sample("x", dist.Poisson(z.exp()), obs=x.double())

    counts = torch.tensor([0, 1, 5 if dtype != torch.bool else 1])
    whole, real = (Quadrature()(model, None, x).value for x in (counts.to(dtype), counts.double()))
    assert torch.equal(whole, real)
    assert whole[0].item() == pytest.approx(-0.9630, abs=1e-4)


def test_latents_between_bounds_given_by_the_data_are_integrated():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(-1.0, x + 2))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    normal = dist.Normal(0.0, 1.0)
    share = normal.cdf(x.new_tensor(2.0)) - normal.cdf(-1 - x)
    exact = (share / (x + 3)).log()
    torch.testing.assert_close(Quadrature()(model, None, x).value, exact, rtol=0, atol=1e-6)


def test_more_than_two_dimensions_are_refused():
    with pytest.raises(ValueError, match="3 continuous latent dimensions"):
        Quadrature()(VAE(6, latent=3), None, torch.zeros(2, 6))


def test_exact_says_which_latent_is_in_the_way():
    with pytest.raises(TypeError, match="VAE has no closed-form evidence, and its latent 'z'"):
        Exact()(VAE(6, latent=3), None, torch.zeros(2, 6))


def test_exact_sums_out_what_is_enumerated():
    def model(x, index=None, size=None):
        with pyro.plate("data", len(x), dim=-1):
            y = pyro.sample("y", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
            z = pyro.sample(
                "z",
                dist.Categorical(torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])[y.long()]),
                infer={"enumerate": "parallel"},
            )
            pyro.sample("x", dist.Normal(y + 2.0 * z, 1.0), obs=x)

    x = torch.tensor([0.3, 2.0, -1.0])
    weights = torch.tensor([[0.7], [0.3]]) * torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])
    centres = torch.arange(2.0)[:, None] + 2.0 * torch.arange(3.0)
    density = dist.Normal(centres, 1.0).log_prob(x[:, None, None]).exp()
    exact = (weights * density).sum((1, 2)).log().double()
    torch.testing.assert_close(Exact()(model, None, x).value, exact, rtol=1e-5, atol=1e-6)
