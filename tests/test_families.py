"""Families: what the numbers mean, exactly, and that densities are known at any z."""

import math

import pytest
import torch

from pyrovae.families import FAMILIES, make_family, positive, positive_inverse

FLOW = make_family("flow", 3)
CONTINUOUS = [name for name in FAMILIES if name != "categorical"]


def random_parameters(family, *batch):
    return 0.7 * torch.randn(*batch, family.size, dtype=torch.float64)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("latent", [1, 2, 3])
def test_any_numbers_are_a_distribution_of_the_batch(name, latent):
    family = make_family(name, latent)
    q = family.distribution(random_parameters(family, 4))
    assert q.batch_shape == (4,)
    assert q.event_shape == (() if name == "categorical" else (latent,))
    drawn = q.expand((7, 4)).sample()
    assert q.log_prob(drawn).shape == (7, 4)
    assert q.log_prob(drawn).isfinite().all()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_zero_is_the_standard_normal(name):
    family = make_family(name, 3)
    q = family.distribution(torch.zeros(1, family.size, dtype=torch.float64))
    z = torch.randn(50, 1, 3, dtype=torch.float64)
    standard = -0.5 * z.square().sum(-1) - 1.5 * math.log(2 * math.pi)
    # The outermost slopes of Pyro's splines are fixed at 0.999.
    tolerance = 5e-3 if name == "flow" else 1e-12
    torch.testing.assert_close(q.log_prob(z), standard, rtol=0, atol=tolerance)


def test_zero_is_the_uniform_category():
    q = make_family("categorical", 4).distribution(torch.zeros(4))
    torch.testing.assert_close(q.probs, torch.full((4,), 0.25))


def test_flow_density_is_that_of_a_change_of_variables():
    """log q(z) = log N(noise) - log |det dz / dnoise|, the determinant by automatic differentiation."""
    q = FLOW.distribution(random_parameters(FLOW))
    for noise in torch.randn(20, 3, dtype=torch.float64):

        def bend(noise):
            for layer in q.transforms:
                noise = layer(noise)
            return noise

        jacobian = torch.autograd.functional.jacobian(bend, noise)
        expected = q.base_dist.log_prob(noise) - jacobian.det().abs().log()
        torch.testing.assert_close(q.log_prob(bend(noise)), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_density_at_a_copied_draw_is_that_at_the_draw(name, dtype):
    """A layer that keeps its last draw must not be asked about another one: leaves are copies."""
    family = make_family(name, 3)
    q = family.distribution(random_parameters(family, 4).to(dtype)).expand((60, 4))
    z = q.rsample()
    tolerance = {"rtol": 0, "atol": 2e-2 if dtype == torch.float32 else 1e-9}
    torch.testing.assert_close(q.log_prob(z.detach().clone()), q.log_prob(z), **tolerance)
    # A planted mistake: the density of another draw.
    assert not torch.allclose(q.log_prob(z.flip(0).clone()), q.log_prob(z), atol=0.1)


def test_flow_contains_the_full_covariance():
    flow, full = make_family("flow", 3), make_family("full", 3)
    parameters = random_parameters(full, 5)
    spline_and_mixing = torch.zeros(5, flow.size - full.size, dtype=torch.float64)
    bent = flow.distribution(torch.cat([spline_and_mixing, parameters], -1))
    straight = full.distribution(parameters)
    z = straight.sample()
    torch.testing.assert_close(bent.log_prob(z), straight.log_prob(z), rtol=0, atol=5e-3)


def test_flow_draws_have_the_density_it_says():
    """E_q[log q] by its own draws, against an integral over a grid."""
    family = make_family("flow", 1)
    q = family.distribution(random_parameters(family, 1))
    axis = torch.linspace(-30, 30, 20001, dtype=torch.float64)[:, None, None]
    log_q = q.log_prob(axis)
    exact = (log_q.exp() * log_q).sum(0) * (axis[1] - axis[0]).squeeze()
    drawn = q.log_prob(q.sample((20000,)).clone())
    error = drawn.std(0) / 20000**0.5
    assert ((drawn.mean(0) - exact).abs() < 5 * error).all()
    # A planted mistake: half the spread.
    assert ((drawn.mean(0) + math.log(0.5) - exact).abs() > 5 * error).all()


def test_positive_and_its_inverse():
    value = torch.tensor([1e-8, 1e-3, 1.0, 30.0, 1e4], dtype=torch.float64)
    torch.testing.assert_close(positive(positive_inverse(value)), value, rtol=1e-9, atol=0)


def test_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'cauchy': the known ones are diagonal, full, flow"):
        make_family("cauchy", 2)
    with pytest.raises(ValueError, match="latent is 0"):
        make_family("full", 0)
