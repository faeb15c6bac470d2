"""Guides whose latents are made of other draws with parameters of their own: a Delta with a log-density."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoStructured
from torch import nn

from pyrovae.objectives import ELBO, IWAE, MIWAE, PIWAE, TVO, VRMax, WakeSleep

R = 4_000
X = torch.tensor(1.5, dtype=torch.float64)


def rows(value):
    return nn.Parameter(torch.full((R,), value, dtype=torch.float64))


def programs(made):
    """The same guide twice: a normal, and what is made of noise with its location and scale."""
    theta, loc, log_scale = rows(0.2), rows(0.5), rows(-0.7)

    def model(x):
        with pyro.plate("data", R, dim=-1):
            z = pyro.sample("z", dist.Normal(theta, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", R, dim=-1):
            if not made:
                pyro.sample("z", dist.Normal(loc, log_scale.exp()))
                return
            noise = dist.Normal(torch.zeros(R, dtype=torch.float64), 1.0)
            e = pyro.sample("e", noise, infer={"is_auxiliary": True})
            value = loc + log_scale.exp() * e
            pyro.sample("z", dist.Delta(value, log_density=(-log_scale).expand(value.shape)))

    return model, guide, [theta, loc, log_scale]


def estimates(objective, made):
    model, guide, parameters = programs(made)
    torch.manual_seed(0)
    loss = objective.differentiable_loss(model, guide, X)
    return torch.stack(torch.autograd.grad(-loss, parameters), -1)


@pytest.mark.parametrize("gradient", ["stl", "dreg", "score"])
@pytest.mark.parametrize(
    ("objective", "options"),
    [
        (ELBO, {"num_particles": 1}),
        (ELBO, {"num_particles": 3}),
        (IWAE, {"num_particles": 5}),
        (IWAE, {"num_particles": 5, "vectorize_particles": False}),
        (MIWAE, {"num_particles": 4}),
        (TVO, {"num_particles": 4}),
    ],
)
def test_what_draws_are_made_with_has_the_plain_gradient(objective, options, gradient):
    """The noise has no parameters here, so that there is no score that could be treated otherwise."""
    plain = estimates(objective(**options, gradient="pathwise"), made=True)
    torch.testing.assert_close(estimates(objective(**options, gradient=gradient), True), plain)
    difference = plain - estimates(objective(**options, gradient="pathwise"), made=False)
    error = difference.std(0) / R**0.5
    assert (difference.mean(0).abs() < 5 * error + 1e-12).all()


def test_other_objectives_give_the_same_gradient_to_both_guides():
    for objective in (
        PIWAE(num_particles=4),
        PIWAE(num_particles=4, gradient="dreg"),
        VRMax(num_particles=4, gradient="score"),
    ):
        difference = estimates(objective, True) - estimates(objective, False)
        error = difference.std(0) / R**0.5
        assert (difference.mean(0).abs() < 5 * error + 1e-12).all()


def test_a_point_estimate_of_each_datapoint_counts_once_under_every_gradient():
    def model(x):
        with pyro.plate("data", 3, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    guide = AutoDelta(model)
    guide(X.float())
    found = []
    for gradient in ("pathwise", "stl", "dreg", "score"):
        loss = IWAE(num_particles=4, gradient=gradient).differentiable_loss(model, guide, X.float())
        found.append(torch.autograd.grad(loss, list(guide.parameters()))[0])
    for each in found[1:]:
        torch.testing.assert_close(each, found[0])


def test_structured_autoguides_have_one_gradient_in_expectation():
    """Its noise is standard, and its scales lie in log-densities."""

    def model():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(a, 1.0))
        with pyro.plate("data", 3, dim=-1):
            pyro.sample("x", dist.Normal(a + b, 1.0), obs=torch.tensor([1.0, 2.0, 0.0]))

    guide = AutoStructured(
        model, conditionals={"a": "normal", "b": "normal"}, dependencies={"b": {"a": "linear"}}
    )
    guide()
    parameters = dict(guide.named_parameters())
    found = {}
    for gradient in ("pathwise", "stl"):
        torch.manual_seed(0)
        loss = ELBO(gradient=gradient).differentiable_loss(model, guide)
        found[gradient] = torch.autograd.grad(loss, list(parameters.values()))
    for one, other in zip(*found.values()):
        torch.testing.assert_close(one, other)


def test_wake_sleep_refuses_latents_that_are_made_with_parameters():
    model, guide, _ = programs(made=True)
    with pytest.raises(
        ValueError, match="site 'z' is made of other draws with parameters of its own"
    ):
        WakeSleep(num_particles=3).differentiable_loss(model, guide, X)


def test_a_dream_has_no_value_for_the_noise_that_latents_are_made_of():
    def model(x):
        with pyro.plate("data", 3, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", 3, dim=-1):
            noise = dist.Normal(0.5 * x, torch.tensor(1.0, requires_grad=True))
            pyro.sample("z", dist.Delta(pyro.sample("e", noise, infer={"is_auxiliary": True})))

    with pytest.raises(
        ValueError, match="makes its latents of a site 'e' that a dream has no value"
    ):
        WakeSleep(num_particles=3, insomnia=0.5).differentiable_loss(model, guide, torch.ones(3))
    WakeSleep(num_particles=3).differentiable_loss(model, guide, torch.ones(3))
