"""The mixture against scikit-learn's, number for number."""

import numpy as np
import pyro
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture as Reference

from pyrovae.densities.missing import known_missing
from pyrovae.models import GaussianMixture
from pyrovae.models.gaussian_mixture import COVARIANCES

NAMES = {"full": "full", "diagonal": "diag", "tied": "tied", "spherical": "spherical"}


def data(rows=300):
    noise = np.random.default_rng(0).random((rows, 64))
    return (load_digits().data[:rows] + noise) / 17


def fitted(covariance, **settings):
    x = data()
    reference = Reference(
        5, covariance_type=NAMES[covariance], reg_covar=1e-3, max_iter=5, tol=0, random_state=0
    )
    reference.fit(x)
    model = GaussianMixture(
        64, components=5, covariance=covariance, floor=1e-3, **settings
    ).double()
    parameters = (reference.weights_, reference.means_, reference.covariances_)
    model.set_parameters(*map(torch.as_tensor, parameters))
    return torch.as_tensor(x), reference, model


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_density_and_responsibilities_are_scikit_learns(covariance):
    x, reference, model = fitted(covariance)
    expected = torch.as_tensor(reference.score_samples(x.numpy()))
    torch.testing.assert_close(model.exact_log_evidence(x), expected, rtol=1e-6, atol=0)
    responsibilities = torch.as_tensor(reference.predict_proba(x.numpy()))
    torch.testing.assert_close(model.posterior(x).probs, responsibilities, rtol=0, atol=1e-8)
    # A planted mistake: variances a hundredth too large.
    with torch.no_grad():
        model.log_variance.add_(0.01)
    assert not torch.allclose(model.exact_log_evidence(x), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_step_of_em_is_scikit_learns(covariance):
    x, reference, model = fitted(covariance)
    responsibilities = model.posterior(x).probs
    model.maximise_likelihood(x, responsibilities)
    reference._m_step(x.numpy(), responsibilities.detach().log().numpy())
    expected = torch.as_tensor(reference.score_samples(x.numpy()))
    torch.testing.assert_close(model.exact_log_evidence(x), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("components", [1, 2, 3, 4])
def test_double_precision_has_the_density_of_single_at_any_size(covariance, components):
    """As many components as columns: a factor for all is no table of standard deviations."""
    model = GaussianMixture(3, components=components, covariance=covariance)
    x = torch.randn(20, 3)
    ours = model.exact_log_evidence(x.double())
    torch.testing.assert_close(ours.float(), model.exact_log_evidence(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("holes", [False, True])
def test_columns_far_from_zero_are_fitted_as_if_they_were_not(covariance, holes):
    """Seconds since 1970, a few from row to row; the evidence is that of the differences."""
    x = torch.randn(100, 3, dtype=torch.float64) + 4 * (torch.arange(100) % 2)[:, None]
    if holes:
        x[torch.rand(100, 3) < 0.2] = torch.nan
    far = x + 2.0**30  # which leaves x all its digits but 30 of 52
    x = far - 2.0**30
    near, moved = (
        GaussianMixture(3, components=2, covariance=covariance).double() for _ in range(2)
    )
    responsibilities = torch.eye(2).double()[torch.arange(100) % 2]
    with torch.no_grad():
        moved.loc.copy_(near.loc + 2.0**30)
        near.loc.copy_(moved.loc - 2.0**30)
    for _ in range(3):
        near.maximise_likelihood(x, responsibilities)
        moved.maximise_likelihood(far, responsibilities)
    torch.testing.assert_close(
        moved.exact_log_evidence(far), near.exact_log_evidence(x), rtol=0, atol=1e-5
    )
    # A planted mistake: squares of the columns themselves, as in the moments before the means are taken out.
    assert not torch.allclose(
        (far.square().nanmean(0) - far.nanmean(0).square()), x.nanmean(0), rtol=0.1
    )


def test_responsibilities_whose_sum_is_rounded_leave_the_tied_covariance_alone():
    x = (torch.randn(500, 4) + 1e4).double()
    responsibilities = torch.full((500, 2), 0.5 + 1e-7).double()
    model = GaussianMixture(4, components=2, covariance="tied").double()
    model.maximise_likelihood(x, responsibilities)
    one = GaussianMixture(4, components=1, covariance="full").double()
    one.maximise_likelihood(x, torch.ones(500, 1))
    covariances = [part.decode(torch.tensor(0)).covariance_matrix for part in (model, one)]
    torch.testing.assert_close(*covariances, rtol=0, atol=1e-6)


@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_columns_that_repeat_others(covariance):
    """The floor holds as far as rounding lets it, whatever is missing; then a sentence says so."""
    column = torch.randn(100, 1)
    x = torch.cat([1e3 * column, 2e3 * column, torch.randn(100, 1)], 1)
    incomplete = torch.where(torch.arange(100)[:, None] % 7 + torch.arange(3) > 0, x, torch.nan)
    for rows in (x, incomplete):
        model = GaussianMixture(3, components=2, covariance=covariance)
        model.initialise(rows)
        model.maximise_likelihood(rows, model.posterior(rows).probs)
        assert model.exact_log_evidence(rows).isfinite().all()
    with pytest.raises(ValueError, match=r"floor of 0\.0001 is lost in rounding .* Scale the"):
        model.initialise(1e3 * x)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_em_never_lowers_the_likelihood(covariance):
    x = torch.as_tensor(data(150))[:, 20:30]
    model = GaussianMixture(10, components=4, covariance=covariance, floor=1e-6).double()
    model.initialise(x, seed=0)
    values = []
    for _ in range(6):
        values.append(model.exact_log_evidence(x).mean().item())
        model.maximise_likelihood(x, model.posterior(x).probs)
    # The floor is added, not maximised over, so that rises stop just short of the top.
    assert all(later > earlier - 1e-4 for earlier, later in zip(values, values[1:], strict=False))
    assert values[-1] > values[0] + 0.01


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_sampling_agrees_with_the_density(covariance):
    """E log p of the model's own draws, by two roads: joint density of draws, and their evidence."""
    torch.manual_seed(0)
    model = GaussianMixture(3, components=2, covariance=covariance).double()
    with torch.no_grad():
        z = model.prior().sample((20000,))
        x = model.decode(z).sample()
        # E[log p(x) - log p(x, z) + log p(z | x)] = 0 for every draw, by Bayes' rule.
        joint = model.prior().log_prob(z) + model.decode(z).log_prob(x)
        torch.testing.assert_close(
            model.exact_log_evidence(x), joint - model.posterior(x).log_prob(z), rtol=0, atol=1e-9
        )
        first = x.mean(0) - (model.weights[:, None] * model.loc).sum(0)
    assert (first.abs() < 5 * x.std(0) / 20000**0.5).all()


def test_the_floor_holds_and_is_kept_by_training():
    x = torch.zeros(40, 3)
    x[:, 0] = torch.randn(40)
    model = GaussianMixture(3, components=2, floor=0.01)
    model.initialise(x)
    scale = model.decode(torch.arange(2)).base_dist.scale
    assert (scale[:, 1:] >= 0.1 - 1e-6).all()
    assert model.exact_log_evidence(x).isfinite().all()


def test_initialising_leaves_the_random_states_alone():
    model, x = GaussianMixture(64, components=5), torch.as_tensor(data()).float()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    model.initialise(x, seed=3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()
    again = GaussianMixture(64, components=5)
    again.initialise(x, seed=3)
    torch.testing.assert_close(model.exact_log_evidence(x), again.exact_log_evidence(x))


def test_enumeration_gives_the_exact_evidence_without_a_guide():
    model, x = GaussianMixture(4, components=3).double(), torch.randn(6, 4, dtype=torch.float64)
    elbo = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)
    loss = elbo.loss(model, lambda x: None, x)
    assert loss == pytest.approx(-model.exact_log_evidence(x).sum().item(), rel=1e-10)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="components must be a whole number of at least 1; got 0"):
        GaussianMixture(4, components=0)
    with pytest.raises(ValueError, match="covariance is 'diag': the known ones are full, diagonal"):
        GaussianMixture(4, covariance="diag")
    with pytest.raises(ValueError, match="floor is -1"):
        GaussianMixture(4, floor=-1)
    with pytest.raises(ValueError, match="3 rows and the mixture 10 components"):
        GaussianMixture(4).initialise(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"below the floor of 0\.001"):
        GaussianMixture(2, components=1, floor=1e-3).set_parameters(
            torch.ones(1), torch.zeros(1, 2), torch.full((1, 2), 1e-4)
        )


@pytest.mark.parametrize("covariance", ["full", "diagonal", "tied", "spherical"])
def test_the_m_step_is_made_where_the_data_are(covariance, monkeypatch):
    """On a device without memory, with responsibilities as k-means has them: on the CPU."""
    moved = []
    mixture = GaussianMixture(3, components=2, covariance=covariance)
    monkeypatch.setattr(mixture, "set_parameters", lambda *parameters: moved.extend(parameters))
    with known_missing(False):
        mixture.maximise_likelihood(torch.rand(7, 3, device="meta"), torch.rand(7, 2))
    assert {tensor.device.type for tensor in moved} == {"meta"}
