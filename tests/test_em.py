"""EM, step by step against scikit-learn's, against gradients, and with missing values."""

import functools
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture as Reference
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky

import pyrovae
from pyrovae.em import em
from pyrovae.guides import ExactPosterior
from pyrovae.models import VAE, BernoulliMixture, GaussianMixture
from pyrovae.models.gaussian_mixture import COVARIANCES
from pyrovae.objectives import ELBO

NAMES = {"full": "full", "diagonal": "diag", "tied": "tied", "spherical": "spherical"}
STEPS = 10


def digits(rows=400):
    noise = np.random.default_rng(0).random((rows, 64))
    return (load_digits().data[:rows] + noise) / 17


def parameters(model):
    """Weights, means and covariances as scikit-learn shapes them."""
    part = model.decode(torch.arange(model.components))
    name = model.covariance
    covariances = part.covariance_matrix if name in ("full", "tied") else part.variance
    if name == "tied" and covariances.ndim == 3:
        covariances = covariances[0]
    if name == "spherical":
        covariances = covariances[:, 0]
    return [t.detach().numpy().copy() for t in (model.weights, model.loc, covariances)]


def same_start(covariance, x):
    model = GaussianMixture(64, components=5, covariance=covariance, floor=1e-3).double()
    model.initialise(torch.as_tensor(x), seed=0)
    name = NAMES[covariance]
    reference = Reference(5, covariance_type=name, reg_covar=1e-3)
    reference.weights_, reference.means_, reference.covariances_ = parameters(model)
    reference.precisions_cholesky_ = _compute_precision_cholesky(reference.covariances_, name)
    return model, reference


def step(reference, x):
    log_evidence, log_responsibilities = reference._e_step(x)
    reference._m_step(x, log_responsibilities)
    return log_evidence


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_it_is_scikit_learns_step_by_step(covariance):
    x = digits()
    model, reference = same_start(covariance, x)
    for _ in range(STEPS):
        expected = step(reference, x)
        (bound,) = em(model, torch.as_tensor(x), iterations=1).bound
        assert float(bound) == pytest.approx(expected, abs=1e-6)
        theirs = (reference.weights_, reference.means_, reference.covariances_)
        for ours, other in zip(parameters(model), theirs):
            np.testing.assert_allclose(ours, other, atol=1e-6, rtol=0)


def test_it_ends_where_svi_with_the_exact_posterior_ends():
    """Both stop where the gradient of the likelihood is zero: the same optimum from the same start."""
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [4.0, 1.0], [1.0, 5.0]]).double()
    x = centres[torch.arange(300) % 3] + torch.randn(300, 2).double()
    climbed = GaussianMixture(2, components=3, floor=0.0).double()
    climbed.initialise(x)
    followed = GaussianMixture(2, components=3, floor=0.0).double()
    followed.load_state_dict(climbed.state_dict())
    history = em(climbed, x, iterations=500, tolerance=1e-12)
    assert history.converged
    assert (history.bound.diff() > -1e-12).all()
    gradients = torch.autograd.grad(
        climbed.exact_log_evidence(x).mean(), list(climbed.parameters())
    )
    assert max(float(g.abs().max()) for g in gradients) < 1e-4
    adam = functools.partial(torch.optim.Adam, lr=0.02)
    svi = pyrovae.SVI(followed, ExactPosterior(followed), adam, ELBO(), level="eager")
    for _ in range(600):
        loss = svi.step(x)
    assert -loss / 300 == pytest.approx(float(history.bound[-1]), abs=1e-3)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_missing_values_are_expected_not_guessed(covariance):
    """The likelihood of what is observed never falls, and ends where its gradient is zero."""
    torch.manual_seed(0)
    mix = torch.randn(3, 3).double()
    x = torch.randn(150, 3).double() @ mix + 3 * (torch.arange(150) % 2)[:, None]
    x[torch.rand(150, 3) < 0.3] = math.nan
    model = GaussianMixture(3, components=2, covariance=covariance, floor=0.0).double()
    model.initialise(x)
    history = em(model, x, iterations=400, tolerance=1e-12)
    assert (history.bound.diff() > -1e-10).all()
    loss = model.exact_log_evidence(x).mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert max(float(g.abs().max()) for g in gradients) < 1e-3
    # A planted mistake: filling with the mean pulls the spread in.
    filled = torch.where(x.isnan(), x.nanmean(0), x)
    model.maximise_likelihood(filled, model.posterior(x).probs)
    assert model.exact_log_evidence(x).mean().item() < float(history.bound[-1]) - 0.01


def test_single_precision_models_are_fitted_in_double():
    x = torch.as_tensor(digits())
    double, _ = same_start("diagonal", x.numpy())
    single = GaussianMixture(64, components=5, floor=1e-3)
    single.load_state_dict(double.state_dict())
    ours, exact = em(single, x, iterations=5), em(double, x, iterations=5)
    torch.testing.assert_close(ours.bound, exact.bound, rtol=1e-4, atol=0)


def test_missing_pixels_do_not_count():
    """As many rows of one component, each with one pixel: their shares are those of what is observed."""
    x = torch.tensor([[1.0, math.nan], [math.nan, 0.0], [0.0, 0.0], [1.0, math.nan]])
    model = BernoulliMixture(2, components=1)
    em(model, x, iterations=1)
    shares = model.pixel_logits.detach().sigmoid()
    torch.testing.assert_close(shares, torch.tensor([[2.5 / 4, 0.5 / 3]]))
    torch.manual_seed(0)
    x = (torch.rand(300, 6) < torch.rand(2, 6)[torch.arange(300) % 2]).double()
    x[torch.rand(300, 6) < 0.3] = math.nan
    model = BernoulliMixture(6, components=2).double()
    model.initialise(x)
    assert (em(model, x, iterations=50, tolerance=0).bound.diff() > -1e-3).all()


def test_data_come_in_the_forms_people_have():
    grey = np.random.default_rng(0).integers(0, 9, (40, 3))
    bounds = []
    for x in (grey, torch.as_tensor(grey).double(), grey.tolist(), np.asfortranarray(grey)):
        torch.manual_seed(0)
        model = GaussianMixture(3, components=2)
        model.initialise(torch.as_tensor(grey))
        bounds.append(float(em(model, x, iterations=1).bound[-1]))
    assert len(set(bounds)) == 1
    seconds = 1_700_000_000 + grey  # single precision would hold them to 128 seconds
    bounds = []
    for x in (seconds, seconds.astype(float)):
        model.initialise(seconds)
        bounds.append(float(em(model, x, iterations=1).bound))
    assert bounds[0] == bounds[1]
    binary = grey > 4
    pixels = BernoulliMixture(3, components=2)
    for x in (binary, torch.as_tensor(binary), binary.astype(np.int64)):
        assert em(pixels, x, iterations=1).bound.isfinite().all()


def test_data_that_cannot_be_fitted_are_refused():
    model = GaussianMixture(5, components=2)
    for x, words in (
        (torch.zeros(7, 1), "has 1 features, the model was made for 5"),
        (torch.zeros(7, 1, 5), r"must have the shape \(N, D\)"),
        (torch.zeros(0, 5), "is empty"),
        (torch.full((7, 5), math.inf), "infinite values in 7 of 7 rows"),
    ):
        with pytest.raises(ValueError, match=words):
            em(model, x)
    with pytest.raises(ValueError, match="other than 0 and 1"):
        em(BernoulliMixture(5, components=2), torch.rand(7, 5))


def test_other_mixtures_and_other_models():
    x = (torch.as_tensor(digits()) > 0.5).double()
    model = BernoulliMixture(64, components=4).double()
    model.initialise(x)
    assert em(model, x, iterations=10).bound.diff()[0] > 0
    with pytest.raises(TypeError, match="M-step is known, such as GaussianMixture, but got VAE"):
        em(VAE(64), x)
    with pytest.raises(ValueError, match="iterations must be a whole number of at least 1; got 0"):
        em(model, x, iterations=0)
