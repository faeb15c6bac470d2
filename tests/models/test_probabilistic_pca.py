"""Probabilistic PCA against the dense normal it is, and against its closed-form maximum."""

import pytest
import torch
from sklearn.decomposition import PCA
from torch.distributions import MultivariateNormal

import pyrovae
from pyrovae.guides import ExactPosterior
from pyrovae.models import ProbabilisticPCA


def random_model(features, latent, dtype=torch.float64):
    model = ProbabilisticPCA(features, latent=latent).to(dtype)
    with torch.no_grad():
        model.weight.normal_()
        model.loc.normal_()
        model.raw_scale.normal_()
    return model


def dense(model):
    eye = torch.eye(model.features, dtype=model.loc.dtype)
    covariance = model.weight @ model.weight.mT + model.scale.square() * eye
    return MultivariateNormal(model.loc, covariance)


@pytest.mark.parametrize(("features", "latent"), [(6, 1), (6, 2), (6, 5), (12, 10), (3, 4)])
def test_evidence_is_the_dense_normals(features, latent):
    model = random_model(features, latent)
    x = 2 * torch.randn(20, features, dtype=torch.float64)
    expected = dense(model).log_prob(x)
    torch.testing.assert_close(model.exact_log_evidence(x), expected, rtol=0, atol=1e-10)
    # A planted mistake: the noise counted as a scale where it is a variance.
    eye = torch.eye(features, dtype=torch.float64)
    wrong = MultivariateNormal(model.loc, model.weight @ model.weight.mT + model.scale * eye)
    assert not torch.allclose(model.exact_log_evidence(x), wrong.log_prob(x), atol=1e-3)


@pytest.mark.parametrize(("features", "latent"), [(6, 1), (6, 5), (3, 4)])
def test_posterior_obeys_bayes_rule(features, latent):
    model = random_model(features, latent)
    x = torch.randn(20, features, dtype=torch.float64)
    z = torch.randn(9, 20, latent, dtype=torch.float64)
    joint = model.prior().log_prob(z) + model.decode(z).log_prob(x)
    posterior = joint - model.exact_log_evidence(x)
    torch.testing.assert_close(model.posterior(x).log_prob(z), posterior, rtol=0, atol=1e-9)


@pytest.mark.parametrize("latent", [1, 3])
def test_maximum_likelihood_is_scikit_learns(latent):
    x = torch.randn(200, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    model = ProbabilisticPCA(6, latent=latent).double()
    model.maximise_likelihood(x)
    reference = PCA(latent, svd_solver="full").fit(x.numpy() * (199 / 200) ** 0.5)
    reference.mean_ = x.mean(0).numpy()  # its own divides the covariance by N - 1
    expected = torch.as_tensor(reference.score_samples(x.numpy()))
    torch.testing.assert_close(model.exact_log_evidence(x), expected, rtol=1e-8, atol=0)


def test_nothing_near_the_maximum_is_likelier():
    x = torch.randn(50, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64)
    model = ProbabilisticPCA(5, latent=2).double()
    model.maximise_likelihood(x)
    loss = -model.exact_log_evidence(x).mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert max(float(g.abs().max()) for g in gradients) < 1e-10


def test_single_precision_keeps_a_sharp_posterior():
    """A noise a thousandth of the signal: the covariance's factor comes from the precision."""
    model = random_model(64, 10, torch.float32)
    with torch.no_grad():
        model.raw_scale.fill_(-7.0)
    x = model.decode(torch.randn(5, 10)).sample()
    exact = random_model(64, 10)
    exact.load_state_dict(model.state_dict())
    expected = exact.posterior(x.double())
    covariance = model.posterior(x).covariance_matrix.double()
    torch.testing.assert_close(covariance, expected.covariance_matrix, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("noise", [1e-1, 1e-2, 1e-3])
def test_single_precision_has_the_evidence_of_data_with_little_noise(noise):
    """The maximum, its evidence and every log-weight: squares of x would leave an error of 100 nats."""
    x = (torch.randn(300, 10) @ torch.randn(10, 64) + noise * torch.randn(300, 64)).double()
    single, double = ProbabilisticPCA(64, latent=10), ProbabilisticPCA(64, latent=10).double()
    single.maximise_likelihood(x.float())
    double.maximise_likelihood(x.float().double())
    torch.testing.assert_close(single.scale.double(), double.scale, rtol=1e-5, atol=0)
    double.load_state_dict(single.state_dict())
    exact = dense(double).log_prob(x.float().double())
    tolerance = {"rtol": 0, "atol": 1e-4 / noise}
    torch.testing.assert_close(single.exact_log_evidence(x.float()).double(), exact, **tolerance)
    log_weights = pyrovae.log_weights(single, ExactPosterior(single), x.float(), num_particles=3)
    torch.testing.assert_close(log_weights.double(), exact.expand(3, -1), **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_noise_that_rounding_made_is_none(dtype, offset):
    for _ in range(4):
        x = torch.randn(50, 2, dtype=dtype) @ torch.randn(2, 5, dtype=dtype) + offset
        with pytest.raises(ValueError, match="vary in no more than 2 directions"):
            ProbabilisticPCA(5, latent=2).maximise_likelihood(x)
        model = ProbabilisticPCA(5, latent=1)
        model.maximise_likelihood(x)
        assert model.scale > 1e-3


def test_initialising_starts_where_the_data_are():
    x = 5 + 3 * torch.randn(100, 4)
    model = ProbabilisticPCA(4, latent=2)
    model.initialise(x, seed=1)
    torch.testing.assert_close(model.loc.detach(), x.mean(0))
    assert 2.5 < float(model.scale) < 3.5
    model.initialise(torch.ones(7, 4))
    assert model.exact_log_evidence(x).isfinite().all()


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="latent must be a whole number of at least 1; got 0"):
        ProbabilisticPCA(4, latent=0)
    with pytest.raises(ValueError, match="at least one dimension of noise"):
        ProbabilisticPCA(4, latent=4).maximise_likelihood(torch.randn(9, 4))
    with pytest.raises(ValueError, match="use fewer latent dimensions"):
        ProbabilisticPCA(4, latent=2).maximise_likelihood(torch.ones(9, 4))
