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


def test_the_error_says_when_the_grid_is_too_coarse():
    model = ProbabilisticPCA(6, latent=2).double()
    with torch.no_grad():
        model.weight.normal_(0, 5)
        model.raw_scale.fill_(-3.0)
    x = model.decode(torch.randn(5, 2, dtype=torch.float64)).sample()
    found = Quadrature(points=5)(model, None, x)
    wrong = (found.value - model.exact_log_evidence(x)).abs()
    assert (found.standard_error > 1e-3).all()
    assert wrong.max() > 1e-3


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
