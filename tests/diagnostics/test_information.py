"""Rate, distortion, mutual information and mismatch, where all four are known."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae
from pyrovae.diagnostics import active_units, information, unit_activity
from pyrovae.guides import Amortized, ExactPosterior, PerDatapoint
from pyrovae.models import VAE, GaussianMixture, ProbabilisticPCA


def pca(features=6, latent=2):
    model = ProbabilisticPCA(features, latent=latent).double()
    with torch.no_grad():
        model.weight.normal_()
    return model


def test_rate_and_distortion_make_the_bound():
    model = VAE(6, latent=2, hidden=(8,), likelihood="fixed_gaussian", scale=1.0).double()
    guide = Amortized(6, 2, hidden=(8,)).double()
    x = torch.rand(30, 6, dtype=torch.float64)
    found = information(model, guide, x, num_particles=40)
    weights = pyrovae.log_weights(model, guide, x, num_particles=400).detach()
    error = 5 * weights.std(0) * (1 / 40 + 1 / 400) ** 0.5
    assert ((-found.rate - found.distortion - weights.mean(0)).abs() < error).all()
    assert found.mutual_information + found.mismatch == pytest.approx(float(found.rate.mean()))
    assert sorted(found.means()) == ["distortion", "mismatch", "mutual_information", "rate"]


def test_the_exact_posterior_of_the_models_own_data_wastes_nothing():
    """Then q(z) is the prior, the mismatch 0, and the mutual information the entropy of a normal's factor."""
    model = pca()
    x = model.decode(torch.randn(1500, 2, dtype=torch.float64)).sample()
    found = information(model, ExactPosterior(model), x, num_particles=2)
    gram = model.weight.mT @ model.weight / model.scale.square() + torch.eye(2)
    exact = 0.5 * gram.logdet().item()
    assert abs(found.mutual_information - exact) < 5 * found.standard_errors["mutual_information"]
    # An aggregated posterior of N datapoints is not quite the prior: the excess falls as 1 / N.
    assert abs(found.mismatch) < 0.05
    # A planted mistake: the whole rate taken for mutual information, of data the prior does not expect.
    with torch.no_grad():
        shifted = information(model, ExactPosterior(model), x + 5 * model.weight.sum(1))
    assert shifted.mismatch > 1.0
    assert float(shifted.rate.mean()) > exact + 1.0
    assert abs(shifted.mutual_information - exact) < 0.2


def test_mutual_information_is_at_most_the_logarithm_of_n():
    model, x = pca(), torch.randn(8, 6, dtype=torch.float64)
    guide = PerDatapoint(8, 2).double()
    with torch.no_grad():
        guide.table[:, :2] = 100 * torch.arange(8)[:, None]
        guide.table[:, 2:] = -3
    found = information(model, guide, x)
    assert found.mutual_information == pytest.approx(math.log(8), abs=1e-6)
    assert information(model, PerDatapoint(8, 2).double(), x).mutual_information == pytest.approx(
        0.0
    )


def test_enumerated_guides_are_refused():
    model = GaussianMixture(6, components=3)
    with pytest.raises(ValueError, match="not for enumerated ones"):
        information(model, ExactPosterior(model), torch.randn(4, 6))


def test_activity_is_the_variance_of_the_exact_means():
    model = pca(latent=3)
    with torch.no_grad():
        model.weight[:, 1] = 0  # a dimension that no datapoint says anything about
    x = model.decode(torch.randn(400, 3, dtype=torch.float64)).sample()
    guide = ExactPosterior(model)
    exact = model.posterior(x).loc.var(0)
    found = unit_activity(guide, x, num_particles=200)
    torch.testing.assert_close(found, exact, rtol=0.05, atol=2e-3)
    assert active_units(guide, x) == 2
    # A planted mistake: the variance of draws is that of the prior even where nothing is learned.
    draws = model.posterior(x).sample()
    assert (draws.var(0) > 0.5).all()


def test_categories_have_no_units():
    guide = Amortized(6, 3, family="categorical")
    with pytest.raises(ValueError, match="'z', which is no vector"):
        unit_activity(guide, torch.zeros(4, 6))


def with_noise(x, z_of):
    """A guide that draws a number of its own, which the model has not, and makes z with it."""
    with pyro.plate("data", len(x), dim=-1):
        noise = pyro.sample("noise", dist.Normal(x[:, 0] * 0, 1.0), infer={"is_auxiliary": True})
        pyro.sample("z", z_of(noise, x))


@pytest.mark.parametrize(
    "z_of",
    [
        lambda noise, x: dist.Normal(noise + x[:, 0], 1.0),
        lambda noise, x: dist.Delta(noise + x[:, 0], log_density=0.0),
    ],
    ids=["drawn", "made"],
)
def test_a_site_of_the_guide_alone_is_refused(z_of):
    """The distortion came out as 0 and the rate took its place: latents were told from data by counting."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x[:, 0] * 0, 1.0))
            pyro.sample(
                "x", dist.Normal(z[..., None], 1.0).expand([*z.shape, 2]).to_event(1), obs=x
            )

    def plain(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(x * 0, 1.0).to_event(1), obs=x)

    x = torch.randn(5, 2)
    with pytest.raises(ValueError, match="draws 'noise', which the model has not"):
        information(model, lambda x: with_noise(x, z_of), x)
    with pytest.raises(ValueError, match="the guide draws nothing"):
        information(plain, lambda x: None, x)
