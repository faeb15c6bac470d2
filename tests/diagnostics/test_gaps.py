"""Gaps against algebra: in linear-Gaussian models every one of them has a closed form."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.diagnostics import gaps
from pyrovae.evidence import AnnealedImportanceSampling
from pyrovae.guides import Amortized, ExactPosterior
from pyrovae.models import VAE, GaussianMixture, ProbabilisticPCA
from pyrovae.programs import data_plate

ROWS = 20


class Linear(torch.nn.Module):
    """A guide that is wrong in a known way: N(loc of the posterior + shift, (width sd)^2)."""

    latent = 2

    def __init__(self, model, shift, width, family_name):
        super().__init__()
        self.model, self.shift, self.width, self.family_name = (model,), shift, width, family_name

    def covariance(self, x):
        covariance = self.model[0].posterior(x[:1]).covariance_matrix[0]
        if self.family_name == "diagonal":
            covariance = covariance.inverse().diagonal().reciprocal().diag()
        return self.width**2 * covariance

    def local_parameters(self, x):
        size = 4 if self.family_name == "diagonal" else 5
        return torch.zeros(len(x), size, dtype=x.dtype)

    def forward(self, x, index=None, size=None):
        loc = self.model[0].posterior(x).loc + self.shift
        tril = torch.linalg.cholesky(self.covariance(x))
        with data_plate(len(x), index, size):
            pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=tril))


def problem():
    torch.manual_seed(0)
    model = ProbabilisticPCA(5, latent=2).double()
    with torch.no_grad():
        model.weight.normal_()
    return model, model.decode(torch.randn(ROWS, 2, dtype=torch.float64)).sample()


def exact_gaps(model, guide, x):
    """KL to the posterior of the best of the family, and of the guide, less that: both the same for all x."""
    posterior = model.posterior(x[:1])
    precision = posterior.covariance_matrix[0].inverse()
    best = torch.zeros(())
    if guide.family_name == "diagonal":
        best = 0.5 * (precision.diagonal().log().sum() - precision.logdet())
    loc = torch.full((2,), guide.shift, dtype=torch.float64)
    q = torch.distributions.MultivariateNormal(loc, guide.covariance(x))
    p = torch.distributions.MultivariateNormal(torch.zeros_like(loc), precision.inverse())
    own = torch.distributions.kl_divergence(q, p)
    return best.item(), (own - best).item()


@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_gaps_are_those_of_the_algebra(family):
    model, x = problem()
    shift, width = 0.15, 0.8
    guide = Linear(model, shift, width, family)
    found = gaps(model, guide, x, num_particles=50_000, steps=150)
    approximation, amortization = exact_gaps(model, guide, x)
    means = found.means()
    assert found.converged
    assert means["approximation"][0] == pytest.approx(approximation, abs=1e-3)
    assert means["amortization"][0] == pytest.approx(amortization, abs=1e-3)
    assert means["inference"][0] == pytest.approx(approximation + amortization, abs=1e-3)
    assert ((found.approximation - approximation).abs() < 5 * found.best_bound_error + 1e-3).all()
    # A planted mistake: the gaps the wrong way round.
    if abs(approximation - amortization) > 0.01:
        assert means["amortization"][0] != pytest.approx(approximation, abs=1e-3)


def test_a_flow_leaves_no_approximation_gap():
    model, x = problem()
    found = gaps(model, ExactPosterior(model), x[:5], family="flow", steps=100, num_particles=1000)
    assert abs(found.means()["approximation"][0]) < 0.01
    torch.testing.assert_close(found.inference, torch.zeros(5).double(), rtol=0, atol=1e-10)


def test_the_best_bound_starts_where_the_encoder_points():
    model, x = VAE(5, latent=2, hidden=(8,)), torch.rand(6, 5)
    guide = Amortized(5, 2, hidden=(8,))
    evidence = AnnealedImportanceSampling(chains=8, temperatures=50, leapfrogs=3)
    found = gaps(model, guide, x, steps=100, num_particles=500, evidence=evidence)
    assert (found.amortization > -5 * (found.best_bound_error + found.bound_error)).all()
    assert (found.approximation > -5 * (found.log_evidence_error + found.best_bound_error)).all()
    parts = found.approximation + found.amortization
    torch.testing.assert_close(parts, found.inference)


def test_a_guide_without_a_family_must_be_told_one():
    model, x = problem()
    with pytest.raises(TypeError, match="ExactPosterior does not say which family"):
        gaps(model, ExactPosterior(model), x)


def test_a_family_of_numbers_has_no_gaps_of_a_category():
    """Torch could not use the draws as an index."""
    model = GaussianMixture(5, components=3)
    with pytest.raises(ValueError, match=r"site 'z' has shape \(4,\) in the model but \(4, 3\)"):
        gaps(model, ExactPosterior(model), torch.randn(4, 5), family="diagonal", steps=2)


def test_the_random_state_is_left_where_the_encoder_has_dropout():
    model, guide = VAE(5, latent=2, hidden=(4,)), Amortized(5, 2, hidden=(4,))
    guide.encoder.register_forward_hook(lambda module, x, y: torch.dropout(y, 0.1, True))
    state = torch.get_rng_state()
    gaps(model, guide, torch.ones(3, 5), steps=2, num_particles=2)
    assert torch.equal(state, torch.get_rng_state())
