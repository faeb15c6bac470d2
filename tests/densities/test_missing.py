"""Missing values are integrated out exactly: by algebra, by refilling them, and by leaving columns away."""

import functools
import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal

import pyrovae
from pyrovae import log_weights, objectives
from pyrovae.densities.missing import (
    any_missing,
    filled,
    known_missing,
    log_prob,
    marginal,
    mean_and_scale,
)
from pyrovae.guides import Amortized, ExactPosterior, PerDatapoint, SemiAmortized
from pyrovae.models import VAE, BernoulliMixture, GaussianMixture, ProbabilisticPCA
from pyrovae.models.gaussian_mixture import COVARIANCES

ROWS, FEATURES = 7, 4


def incomplete(seed=0, dtype=torch.float64, binary=False):
    """Rows with every pattern of missing values there may be: none, some, all."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, FEATURES, generator=generator, dtype=dtype)
    if binary:
        x = (x > 0).to(dtype)
    holes = torch.rand(ROWS, FEATURES, generator=generator) < 0.5
    holes[0], holes[1] = False, True
    return torch.where(holes, math.nan, x)


def random_parameters(model):
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, dtype=torch.float64))
    return model


def dense_marginal(loc, covariance, row):
    here = ~row.isnan()
    if not here.any():
        return torch.zeros((), dtype=row.dtype)
    return MultivariateNormal(loc[here], covariance[here][:, here]).log_prob(row[here])


def test_pca_is_the_dense_normal_of_what_is_there():
    model, x = random_parameters(ProbabilisticPCA(FEATURES, latent=2)), incomplete()
    covariance = (
        model.weight @ model.weight.mT + model.scale.square() * torch.eye(FEATURES).double()
    )
    expected = torch.stack([dense_marginal(model.loc, covariance, row) for row in x])
    torch.testing.assert_close(model.exact_log_evidence(x), expected, atol=1e-10, rtol=0)
    # A planted mistake: zeros taken for values.
    assert not torch.allclose(model.exact_log_evidence(filled(x)), expected, atol=0.1)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_mixture_is_the_mixture_of_what_is_there(covariance):
    model = random_parameters(GaussianMixture(FEATURES, components=3, covariance=covariance))
    x = incomplete()
    part = model.decode(torch.arange(3))
    matrices = (
        part.covariance_matrix
        if covariance in ("full", "tied")
        else torch.diag_embed(part.variance)
    )
    matrices = matrices.expand(3, FEATURES, FEATURES)
    each = [
        torch.stack([dense_marginal(model.loc[c], matrices[c], row) for c in range(3)]) for row in x
    ]
    expected = (torch.stack(each) + model.weights.log()).logsumexp(-1)
    torch.testing.assert_close(model.exact_log_evidence(x), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProbabilisticPCA(FEATURES, latent=2),
        lambda: GaussianMixture(FEATURES, components=3),
        lambda: GaussianMixture(FEATURES, components=3, covariance="full"),
    ],
)
def test_with_the_exact_posterior_every_log_weight_is_the_evidence_of_what_is_there(make):
    model, x = random_parameters(make()), incomplete()
    exact = model.exact_log_evidence(x)
    weights = log_weights(model, ExactPosterior(model), x, num_particles=5)
    torch.testing.assert_close(weights, exact.expand(5, ROWS), atol=1e-10, rtol=0)
    for objective in (objectives.ELBO(), objectives.IWAE(num_particles=3)):
        loss = objective.loss(model, ExactPosterior(model), x)
        assert -loss == pytest.approx(float(exact.sum().detach()), abs=1e-10)


LIKELIHOODS = ("gaussian", "fixed_gaussian", "bounded_gaussian", "student_t", "bernoulli")


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_missing_column_is_as_if_it_had_never_been(likelihood):
    """The density of a row whose last column is missing is that of the row without it."""
    model = VAE(FEATURES, latent=2, hidden=(5,), likelihood=likelihood).double()
    x = incomplete(binary=likelihood == "bernoulli")
    z = torch.randn(ROWS, 2, dtype=torch.float64)
    elementwise = model.decode(z).base_dist.log_prob(filled(x))
    expected = torch.where(x.isnan(), 0.0, elementwise).sum(-1)
    torch.testing.assert_close(log_prob(model.decode(z), x), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("guide_class", [Amortized, PerDatapoint, SemiAmortized])
def test_gradients_are_numbers_and_forget_what_is_missing(guide_class):
    model = VAE(FEATURES, latent=2, hidden=(5,)).double()
    guide = {
        Amortized: lambda: Amortized(FEATURES, 2, hidden=(5,), show_missing=True),
        PerDatapoint: lambda: PerDatapoint(ROWS, 2),
        SemiAmortized: lambda: SemiAmortized(FEATURES, 2, model, hidden=(5,), steps=2),
    }[guide_class]().double()
    x = incomplete()
    loss = objectives.IWAE(num_particles=3).differentiable_loss(model, guide, x)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    # A column that is missing in all rows leaves the decoder's bias for it alone.
    x[:, 2] = math.nan
    model.zero_grad()
    objectives.ELBO().differentiable_loss(model, guide, x).backward()
    bias = model.decoder.output_bias.grad.reshape(2, FEATURES)
    assert (bias[:, 2] == 0).all()
    assert (bias[:, 0] != 0).all()


def test_fit_learns_from_incomplete_rows():
    torch.manual_seed(1)
    complete = torch.randn(400, 1) @ torch.randn(1, FEATURES) + 0.1 * torch.randn(400, FEATURES)
    x = torch.where(torch.rand(400, FEATURES) < 0.3, math.nan, complete)
    model = ProbabilisticPCA(FEATURES, latent=1)
    model.initialise(x)
    adam = functools.partial(torch.optim.Adam, lr=0.03)
    history = pyrovae.fit(
        model, ExactPosterior(model), x, epochs=40, batch_size=100, optim=adam, progress=False
    )
    assert history.train_bound[-1] > history.train_bound[0] + 1
    best = ProbabilisticPCA(FEATURES, latent=1)
    best.maximise_likelihood(complete)
    loss = (best.exact_log_evidence(x) - model.exact_log_evidence(x)).mean().item()
    assert abs(loss) < 0.1  # as good as what complete rows teach, up to 0.1 nat


def test_a_recorded_step_knows_of_missing_values():
    """Batches with and without missing values in turn: the recording for one is not used for the other."""
    torch.manual_seed(0)
    whole, holes = torch.randn(ROWS, FEATURES), incomplete(dtype=torch.float32)

    def losses(level):
        torch.manual_seed(3)
        model, guide = VAE(FEATURES, latent=2, hidden=(5,)), Amortized(FEATURES, 2, hidden=(5,))
        adam = functools.partial(torch.optim.Adam, lr=1e-2)
        svi = pyrovae.SVI(model, guide, adam, objectives.ELBO(), level=level)
        return [svi.step(x) for x in (whole, holes, whole, holes, holes, whole)]

    np.testing.assert_allclose(losses("eager"), losses("traced"), rtol=1e-5)


@pytest.mark.parametrize("make", [VAE, ProbabilisticPCA, BernoulliMixture, GaussianMixture])
@pytest.mark.parametrize(("features", "shape"), [(5, (20, 1)), (1, (20,)), (5, (20, 3))])
def test_rows_of_another_width_are_refused_where_they_would_be_broadcast(make, features, shape):
    model, x = make(features), torch.ones(shape)
    uses = [model, model.initialise]
    if make is not VAE:
        uses += [model.exact_log_evidence, model.posterior]
    for use in uses:
        for rows in (x, x.double()):
            with pytest.raises(ValueError, match=r"the model was made for|shape \(N, D\); got"):
                use(rows)


def test_bernoulli_check_passes_over_what_is_missing():
    model = VAE(2, latent=1, likelihood="bernoulli")
    model.check_data(torch.tensor([[0.0, math.nan], [1.0, 1.0]]))
    with pytest.raises(ValueError, match="other than 0 and 1"):
        model.check_data(torch.tensor([[0.5, math.nan]]))


def test_initialising_looks_at_what_is_there():
    x = torch.tensor([[1.0, math.nan], [3.0, math.nan]])
    mean, scale = mean_and_scale(x)
    assert mean.tolist() == [2.0, 0.0]
    assert scale.tolist() == [1.0, 0.0]
    model = VAE(FEATURES, latent=2).double()
    model.initialise(incomplete())
    assert all(p.isfinite().all() for p in model.parameters())
    with pytest.raises(ValueError, match="missing values .*no closed form"):
        ProbabilisticPCA(FEATURES, latent=1).maximise_likelihood(incomplete())


def test_what_is_known_is_not_asked_again():
    x = torch.tensor([math.nan])
    assert any_missing(x)
    with known_missing(False):
        assert not any_missing(x)
    assert any_missing(x)
    assert not any_missing(torch.tensor([1]))


def test_distributions_without_marginals_are_refused():
    mixture = dist.LogNormal(torch.zeros(2, 3), 1.0).to_event(2)
    with pytest.raises(TypeError, match="marginals of Independent are not known"):
        marginal(mixture, torch.ones(2, 3, dtype=torch.bool))
