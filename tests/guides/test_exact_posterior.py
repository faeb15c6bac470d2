"""With the exact posterior every log-weight is the evidence."""

import pytest
import torch

from pyrovae import log_weights
from pyrovae.diagnostics import unit_activity
from pyrovae.guides import ExactPosterior
from pyrovae.models import VAE, GaussianMixture, ProbabilisticPCA
from pyrovae.representation import codes


@pytest.mark.parametrize("scale", [{}, {"index": torch.arange(4), "size": 40}])
@pytest.mark.parametrize("model", [ProbabilisticPCA(5, latent=3), GaussianMixture(5, components=4)])
def test_every_weight_is_the_evidence(model, scale):
    model = model.double()
    x = torch.randn(4, 5, dtype=torch.float64)
    weights = log_weights(model, ExactPosterior(model), x, num_particles=7, **scale)
    exact = model.exact_log_evidence(x)
    torch.testing.assert_close(weights, exact.expand(7, 4), rtol=0, atol=1e-10)


def test_another_models_posterior_is_told_apart():
    model, x = ProbabilisticPCA(5, latent=3).double(), torch.randn(4, 5, dtype=torch.float64)
    other = ProbabilisticPCA(5, latent=3).double()
    weights = log_weights(model, ExactPosterior(other), x, num_particles=7)
    assert not torch.allclose(weights, model.exact_log_evidence(x).expand(7, 4), atol=1e-3)


def test_it_has_no_parameters_of_its_own():
    assert list(ExactPosterior(ProbabilisticPCA(5, latent=3)).parameters()) == []


def test_a_model_without_one_is_refused():
    with pytest.raises(TypeError, match=r"closed-form posterior.*got VAE.*guides\.Amortized"):
        ExactPosterior(VAE(5, latent=2))


def test_a_single_row_is_refused_where_only_the_guide_is_given():
    guide = ExactPosterior(ProbabilisticPCA(5, latent=2))
    with pytest.raises(ValueError, match=r"a single row x is x\[None\]"):
        unit_activity(guide, torch.zeros(5))
    with pytest.raises(ValueError, match=r"a single row x is x\[None\]"):
        codes(guide, torch.zeros(5))
