"""Bounds in their order, and against closed forms, on linear-Gaussian models."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae import log_weights
from pyrovae.objectives import CIWAE, ELBO, IWAE, MIWAE, PIWAE, TVO, VRIWAE, Renyi, VRMax

MODELS, REPEATS, K = 50, 400, 32


@pytest.fixture(scope="module")
def weights():
    """Log-weights (K, REPEATS, MODELS) of random models, and the exact evidence of each (MODELS,)."""
    draws = torch.Generator().manual_seed(0)
    x, loc, noise, scale = (
        torch.randn(MODELS, dtype=torch.float64, generator=draws) for _ in range(4)
    )
    noise, scale = noise.exp().clamp(0.3), scale.exp().clamp(0.5)

    def model():
        with pyro.plate("repeats", REPEATS, dim=-2), pyro.plate("data", MODELS, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(MODELS).double(), 1.0))
            pyro.sample("x", dist.Normal(z, noise), obs=x.expand(REPEATS, MODELS))

    def guide():
        with pyro.plate("repeats", REPEATS, dim=-2), pyro.plate("data", MODELS, dim=-1):
            pyro.sample("z", dist.Normal(x / 2 + 0.3 * loc, scale))

    torch.manual_seed(1)
    found = log_weights(model, guide, num_particles=K).reshape(K, REPEATS, MODELS)
    exact = dist.Normal(torch.zeros(MODELS).double(), (1 + noise**2).sqrt()).log_prob(x)
    return found, exact


def above(one, other):
    """In how many models the mean over repeats of a paired difference is above 0 by 4 standard errors."""
    difference = one - other
    if not isinstance(other, torch.Tensor) or difference.dim() == 1:
        difference = difference.expand(REPEATS, MODELS)
    error = difference.std(0) / REPEATS**0.5
    return ((difference.mean(0) - 4 * error) > 1e-9).sum().item()


def test_the_importance_weighted_bound_rises_with_particles(weights):
    found, exact = weights
    bounds = [IWAE().bound(found[:k]) for k in (1, 2, 4, 8, 16, 32)]
    for less, more in zip(bounds, bounds[1:]):
        assert above(less, more) == 0
    assert above(bounds[-1], bounds[0]) > 25
    assert above(bounds[-1], exact) == 0


def test_renyi_bounds_fall_with_their_order(weights):
    found, exact = weights
    orders = [-math.inf, -5.0, -1.0, 0.0, 0.3, 0.9, 0.999999, 1.000001, 2.0, 5.0]
    bounds = [Renyi(alpha=alpha).bound(found) for alpha in orders]
    for looser, tighter in zip(bounds[1:], bounds):
        assert (looser <= tighter + 1e-7).all()  # a fact about power means, draw by draw
    for bound in bounds[3:]:
        assert above(bound, exact) == 0


def test_towards_order_one_the_bound_meets_the_elbo(weights):
    found, _ = weights
    for alpha in (1 - 1e-8, 1 + 1e-8):
        difference = Renyi(alpha=alpha).bound(found) - ELBO().bound(found)
        # The difference is the variance of the log-weights, times half of 1 - alpha.
        assert (difference.abs() < 1e-8 * found.var(0) + 1e-6).all()


@pytest.mark.parametrize("distance", [1e-3, -1e-5, 1e-7])
def test_near_order_one_single_precision_is_enough(weights, distance):
    found, _ = weights
    alpha = 1 - distance
    exact = Renyi(alpha=alpha).bound(found)
    torch.testing.assert_close(
        Renyi(alpha=alpha).bound(found.float()).double(), exact, atol=1e-4, rtol=1e-5
    )


def test_order_zero_and_minus_infinity_are_what_they_are_called(weights):
    found, _ = weights
    assert torch.equal(Renyi(alpha=0.0).bound(found), IWAE().bound(found))
    assert torch.equal(Renyi(alpha=-math.inf).bound(found), VRMax().bound(found))
    assert torch.equal(VRIWAE(alpha=0.0).bound(found), IWAE().bound(found))
    assert torch.equal(PIWAE(num_particles=K).bound(found), IWAE().bound(found))


def test_an_order_below_zero_may_lie_above_the_evidence(weights):
    """The twin of the tests above: what is no bound is seen to be none."""
    found, exact = weights
    assert above(Renyi(alpha=-5.0).bound(found), exact) > 5
    assert above(VRMax().bound(found), exact) > 5


def test_combinations_lie_between_the_elbo_and_the_importance_weighted_bound(weights):
    found, _ = weights
    elbo, iwae = ELBO().bound(found), IWAE().bound(found)
    bounds = [CIWAE(beta=beta).bound(found) for beta in (0.0, 0.05, 0.5, 1.0)]
    assert torch.equal(bounds[0], iwae)
    assert torch.allclose(bounds[-1], elbo)
    for groups in (1, 2, 8, K):
        bounds.append(MIWAE(num_particles=K, groups=groups).bound(found))
    assert torch.allclose(bounds[4], iwae)
    assert torch.allclose(bounds[-1], elbo)
    for partitions in (1, 2, 5, 50):
        bounds.append(TVO(num_particles=K, partitions=partitions).bound(found))
    assert torch.allclose(bounds[8], elbo)
    for bound in bounds:
        assert (elbo - 1e-9 <= bound).all()
        assert (bound <= iwae + 1e-9).all()
    assert (bounds[-1] - iwae).abs().mean() < 0.2 * (bounds[9] - iwae).abs().mean()


def renyi_closed_form(alpha, x, prior, guide):
    """z ~ N(prior, I), x ~ N(z, I), q = N(guide, 2/3 I), in d dimensions (Daudel et al., 2023)."""
    d = len(x)
    constant = math.log(3 * math.pi) + math.log(1 + (1 - alpha) / 3) / (1 - alpha)
    squares = (guide - prior).square().sum() + (guide - x).square().sum()
    cross = (1 - alpha) * (2 * guide - prior - x).square().sum() / (4 - alpha)
    return (-0.5 * d * constant - 0.5 * squares + cross).item()


def test_the_closed_form_is_the_evidence_at_order_zero():
    x, prior, guide = torch.randn(3, 5, dtype=torch.float64)
    exact = dist.Normal(prior, 2**0.5).log_prob(x).sum().item()
    assert renyi_closed_form(0.0, x, prior, guide) == pytest.approx(exact, abs=1e-10)


@pytest.fixture(scope="module")
def linear_gaussian():
    generator = torch.Generator().manual_seed(4)
    x, prior, noise = (torch.randn(5, dtype=torch.float64, generator=generator) for _ in range(3))
    guide = (x + prior) / 2 + 0.1 * noise

    def model():
        with pyro.plate("data", 1, dim=-1):
            z = pyro.sample("z", dist.Normal(prior, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x[None])

    def program():
        with pyro.plate("data", 1, dim=-1):
            pyro.sample("z", dist.Normal(guide, (2 / 3) ** 0.5).to_event(1))

    torch.manual_seed(0)
    return log_weights(model, program, num_particles=200_000)[:, 0], (x, prior, guide)


@pytest.mark.parametrize("alpha", [i / 10 for i in range(10)])
def test_renyi_bounds_match_their_closed_form(linear_gaussian, alpha):
    found, programs = linear_gaussian
    power = ((1 - alpha) * found).exp()
    error = power.std() / power.mean() / len(power) ** 0.5 / (1 - alpha)
    came = Renyi(alpha=alpha).bound(found[:, None]).item()
    assert abs(came - renyi_closed_form(alpha, *programs)) < 5 * error


def test_a_closed_form_of_another_order_would_be_seen(linear_gaussian):
    found, programs = linear_gaussian
    power = (0.5 * found).exp()
    error = power.std() / power.mean() / len(power) ** 0.5 / 0.5
    came = Renyi(alpha=0.5).bound(found[:, None]).item()
    assert abs(came - renyi_closed_form(0.4, *programs)) > 5 * error
