"""Particles whose log-weight is minus infinity, and log-weights that lie far apart."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrovae.objectives import CIWAE, IWAE, VRIWAE, Renyi, VRMax, WakeSleep
from pyrovae.surrogates.bounds import renyi_bound

R, K = 6_000, 3
LOG_P = torch.tensor([-math.inf, -1.0, -0.5], dtype=torch.float64)


def programs():
    """A category that the guide may draw and the model cannot have."""
    logits = nn.Parameter(torch.tensor([0.5, 0.0, -0.5], dtype=torch.float64).repeat(R, 1))

    def model():
        with pyro.plate("data", R, dim=-1):
            pyro.sample("d", dist.Categorical(logits=LOG_P))

    def guide():
        with pyro.plate("data", R, dim=-1):
            pyro.sample("d", dist.Categorical(logits=logits))

    return model, guide, logits


@pytest.mark.parametrize("num_particles", [2, K])
@pytest.mark.parametrize("objective", [IWAE, VRMax], ids=lambda each: each.__name__)
def test_the_score_has_the_gradient_of_full_enumeration_where_that_is_finite(
    objective, num_particles, monkeypatch
):
    """Given that some particle is possible: elsewhere the bound itself is minus infinity."""
    made = objective(num_particles=num_particles)
    q = torch.tensor([0.5, 0.0, -0.5], dtype=torch.float64, requires_grad=True)
    log_q = q.log_softmax(-1)
    log_weights = LOG_P.log_softmax(-1) - log_q
    total = 0.0
    for each in itertools.product(range(3), repeat=num_particles):
        if any(each):
            chosen = torch.tensor(each)
            total = total + log_q[chosen].sum().exp() * made.bound(log_weights[chosen])
    (exact,) = torch.autograd.grad(total, q)
    model, guide, logits = programs()
    torch.manual_seed(0)
    particles = made.run(model, guide, (), {})
    (found,) = torch.autograd.grad(made.surrogate(particles), logits)
    possible = made.bound(particles.log_weights).isfinite()
    assert found[possible].isfinite().all()
    sample = found.where(possible[:, None], 0.0)
    error = sample.std(0) / R**0.5
    assert ((sample.mean(0) - exact).abs() < 5 * error).all()
    assert not possible.all()


@pytest.mark.parametrize(
    "objective",
    [
        IWAE(num_particles=40, gradient="dreg"),
        IWAE(num_particles=40, gradient="stl"),
        Renyi(num_particles=40, gradient="dreg"),
        WakeSleep(num_particles=40),
    ],
    ids=lambda each: f"{type(each).__name__}-{each.gradient}",
)
def test_an_impossible_draw_leaves_the_loss_and_its_gradient_numbers(objective):
    scale = nn.Parameter(torch.tensor(2.0))

    def model():
        with pyro.plate("data", 5, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.factor("inside", torch.where(z.abs() < 1, 0.0, -math.inf))

    def guide():
        with pyro.plate("data", 5, dim=-1):
            pyro.sample("z", dist.Normal(0.0, scale))

    torch.manual_seed(0)
    assert objective.run(model, guide, (), {}).log_weights.isneginf().any()
    loss = objective.differentiable_loss(model, guide)
    assert loss.isfinite()
    assert torch.autograd.grad(loss, scale)[0].isfinite()


def test_bounds_of_particles_some_of_which_are_impossible():
    weights = torch.tensor([-math.inf, 0.0, -1.0], dtype=torch.float64)
    assert CIWAE(beta=0.0).bound(weights) == IWAE().bound(weights)
    for alpha in (0.996, 0.998):
        exact = math.log((1 + math.exp(alpha - 1)) / 3) / (1 - alpha)
        assert VRIWAE(alpha=alpha).bound(weights).item() == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("alpha", [0.998, 0.9999, 1.0001, 1.002])
def test_renyi_bounds_near_order_1_of_weights_that_lie_far_apart(alpha):
    weights = torch.tensor([0.0, -3e5, -3e5, 2.0, -4e5], requires_grad=True)
    high = weights.detach().double().requires_grad_()
    exact = (((1 - alpha) * high).logsumexp(0) - math.log(5)) / (1 - alpha)
    value = renyi_bound(weights, alpha)
    assert value.item() == pytest.approx(exact.item(), rel=1e-4)
    (found,), (expected,) = (
        torch.autograd.grad(*each) for each in ((value, weights), (exact, high))
    )
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=1e-3)
