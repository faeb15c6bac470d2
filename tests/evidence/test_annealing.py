"""Annealing: transitions that leave their target as it is, and bounds that hold the truth between them."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.evidence import AnnealedImportanceSampling, BidirectionalMonteCarlo, Quadrature
from pyrovae.guides import ExactPosterior
from pyrovae.models import VAE, ProbabilisticPCA
from pyrovae.sampling import annealing
from pyrovae.sampling.annealed_model import AnnealedModel
from pyrovae.sampling.hmc import at, transition


def pca(latent, features=8):
    model = ProbabilisticPCA(features, latent=latent).double()
    with torch.no_grad():
        model.weight.normal_()
        model.raw_scale.fill_(-0.5)
    return model


@pytest.mark.parametrize("leapfrogs", [1, 4])
def test_transitions_leave_the_posterior_as_it_is(leapfrogs):
    model = pca(3)
    x = torch.randn(2, 8, dtype=torch.float64)
    posterior = model.posterior(x)
    path = AnnealedModel.of(model, None, (x,), {})
    state = at(path.ends, posterior.sample((4000,)))
    for _ in range(10):
        step, precision = torch.full((2,), 0.12), torch.ones(2, 3).double()
        state, accept = transition(
            path.ends, state, torch.ones(2).double(), step.double(), precision, leapfrogs
        )
    assert (accept.mean(0) > 0.3).all()
    assert (accept.mean(0) < 0.999).all()
    whitened = torch.linalg.solve_triangular(
        posterior.scale_tril, (state.position - posterior.loc)[..., None], upper=False
    )[..., 0]
    assert (whitened.mean(0).abs() < 5 / 4000**0.5).all()
    assert ((whitened.square().mean(0) - 1).abs() < 5 * (2 / 4000) ** 0.5).all()


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_the_sandwich_holds_the_exact_value(latent):
    model = pca(latent)
    estimator = BidirectionalMonteCarlo(
        temperatures=40, chains=32, leapfrogs=5, pilot_temperatures=40
    )
    # Only the shape of x counts; the exact values are those of the simulated data.
    torch.manual_seed(0)
    simulated = []

    class Watched(ProbabilisticPCA):
        def forward(self, x, index=None, size=None):
            if not simulated or len(simulated) < 3:
                simulated.append(x)
            return super().forward(x, index, size)

    watched = Watched(8, latent=latent).double()
    watched.load_state_dict(model.state_dict())
    found = estimator(watched, None, torch.zeros(40, 8, dtype=torch.float64))
    x = next(x for x in simulated if (x != 0).any())
    exact = model.exact_log_evidence(x).detach()
    assert (found.value - 4 * found.standard_error <= exact).all()
    assert (exact <= found.upper + 4 * found.upper_standard_error).all()
    assert (found.upper - found.value).mean() < 1.0
    # A planted mistake: a missing minus log K on either side.
    missing = torch.log(torch.tensor(32.0))
    assert not (found.value + missing - 4 * found.standard_error <= exact).all()


def test_without_temperatures_to_speak_of_the_gap_is_wide():
    model, shape = pca(5), torch.zeros(20, 8, dtype=torch.float64)
    few = BidirectionalMonteCarlo(temperatures=2, chains=4, leapfrogs=2, pilot_temperatures=4)
    found = few(model, None, shape)
    assert (found.upper - found.value).mean() > 1.0


def test_any_support_and_several_sites():
    """Gamma and simplex latents, two sites, an inner plate: against quadrature over the one that is left."""

    def model(x, index=None, size=None):
        with pyro.plate("data", len(x), dim=-2):
            rate = pyro.sample("rate", dist.Gamma(x.new_full((1,), 3.0), 2.0))
            with pyro.plate("inner", 2, dim=-1):
                shift = pyro.sample("shift", dist.Normal(0.0, x.new_full((1,), 0.7)))
                pyro.sample("x", dist.Normal(rate + shift, 0.5), obs=x)

    def summed(x, index=None, size=None):
        with pyro.plate("data", len(x), dim=-1):
            rate = pyro.sample("rate", dist.Gamma(x.new_tensor(3.0), 2.0))
            wide = x.new_tensor(0.7**2 + 0.5**2).sqrt()
            both = torch.stack([rate, rate], -1)
            pyro.sample("x", dist.Normal(both, wide).to_event(1), obs=x)

    x = 1.0 + torch.rand(5, 2, dtype=torch.float64)
    exact = Quadrature(points=401)(summed, None, x).value
    found = AnnealedImportanceSampling(chains=200, temperatures=40, leapfrogs=4)(model, None, x)
    assert ((found.value - exact).abs() < 5 * found.standard_error).all()
    assert (found.standard_error < 0.05).all()


def test_from_the_exact_posterior_there_is_nothing_to_anneal():
    model, x = pca(3), torch.randn(4, 8, dtype=torch.float64)
    estimator = AnnealedImportanceSampling(
        chains=3, temperatures=4, leapfrogs=2, start="guide", pilot_temperatures=4
    )
    found = estimator(model, ExactPosterior(model), x)
    torch.testing.assert_close(found.value, model.exact_log_evidence(x), rtol=0, atol=1e-10)


def test_temperatures_rise_from_0_to_1_for_every_row():
    model = VAE(6, latent=2, hidden=(8,), likelihood="fixed_gaussian", scale=0.02)
    x = torch.rand(5, 6)
    path = AnnealedModel.of(model, None, (x,), {})
    found = annealing.tune(path.ends, path.draw(8), 3, pilot_temperatures=20, temperatures=33)
    assert found.betas.shape == found.steps.shape == (34, 5)
    assert (found.betas[0] == 0).all()
    torch.testing.assert_close(found.betas[-1], torch.ones(5))
    assert (found.betas.diff(dim=0) >= 0).all()
    assert (found.steps > 0).all()


def test_a_shared_latent_is_refused():
    def model(x, index=None, size=None):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(loc, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match="'loc' lies outside the plate 'data'"):
        AnnealedImportanceSampling()(model, None, torch.zeros(3))


def test_bounds_of_incomplete_rows_are_those_of_what_is_there():
    model = pca(2)
    x = torch.zeros(4, 8, dtype=torch.float64)
    x[:2, 3:] = torch.nan
    found = BidirectionalMonteCarlo(temperatures=100)(model, None, x)
    assert torch.equal(found.simulated.isnan(), x.isnan())
    exact = model.exact_log_evidence(found.simulated).detach()
    assert ((found.value - exact).abs() < 5 * found.standard_error).all()
    assert ((found.upper - exact).abs() < 5 * found.upper_standard_error).all()
