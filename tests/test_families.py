"""Families: what the numbers mean, exactly, and that densities are known at any z."""

import math

import pytest
import torch
from pyro.distributions.transforms.spline import ConditionedSpline

from pyrovae.families import FAMILIES, make_family, positive, positive_inverse
from pyrovae.families.spline import BINS, BOUND, Spline

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
    torch.testing.assert_close(q.log_prob(z), standard, rtol=0, atol=1e-12)


def test_zero_is_the_uniform_category():
    q = make_family("categorical", 4).distribution(torch.zeros(4))
    torch.testing.assert_close(q.probs, torch.full((4,), 0.25))


def test_flow_density_is_that_of_a_change_of_variables():
    """log q(z) = log N(noise) - log |det dz / dnoise|, the determinant by automatic differentiation."""
    parameters = random_parameters(FLOW)
    q = FLOW.distribution(parameters)
    for noise in torch.randn(20, 3, dtype=torch.float64):

        def bend(noise):
            return FLOW.transport(parameters, noise)

        jacobian = torch.autograd.functional.jacobian(bend, noise)
        log_noise = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum()
        expected = log_noise - jacobian.det().abs().log()
        torch.testing.assert_close(q.log_prob(bend(noise)), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("spread", [0.7, 1.5, 3.0])
@pytest.mark.parametrize("latent", [1, 5])
def test_flow_density_in_single_precision_has_its_digits(latent, spread):
    """Pyro's inverse was off by 10 nats at one draw in a thousand, and no number at some."""
    family = make_family("flow", latent)
    parameters = spread * torch.randn(500, family.size)
    z = family.distribution(parameters).sample((20,))
    single = family.distribution(parameters).log_prob(z)
    double = family.distribution(parameters.double()).log_prob(z.double())
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=1e-6)


def test_splines_are_those_of_pyro_between_their_outermost_knots():
    torch.manual_seed(1)
    raw = torch.randn(7, 4 * BINS - 1, dtype=torch.float64)
    widths, heights, slopes, shares = raw.split([BINS, BINS, BINS - 1, BINS], -1)
    slopes = positive(slopes) * (1.0 - 1e-3)
    numbers = (widths.softmax(-1), heights.softmax(-1), slopes, shares.sigmoid())
    theirs, ours = ConditionedSpline(numbers, bound=BOUND), Spline(raw)
    x = torch.linspace(-5.0, 5.0, 301, dtype=torch.float64)[:, None].expand(-1, 7)
    y = ours(x)
    knots = BOUND * (2.0 * (1e-3 + 0.995 * widths.softmax(-1)).cumsum(-1) - 1.0)
    inner = (x > knots[:, 0]) & (x < knots[:, -2])
    assert inner.sum() > 500
    torch.testing.assert_close(y[inner], theirs(x)[inner], rtol=0, atol=1e-10)
    # Theirs have 0.999 as slope at the ends, which is 1 outside.
    torch.testing.assert_close(y, theirs(x), rtol=0, atol=1e-2)
    torch.testing.assert_close(ours.inverse(y)[0], x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_density_at_a_copied_draw_is_that_at_the_draw(name, dtype):
    """Leaves are copies, of which nothing that a layer keeps of its last draw may be true."""
    family = make_family(name, 3)
    q = family.distribution(random_parameters(family, 4).to(dtype)).expand((60, 4))
    z = q.rsample()
    torch.testing.assert_close(q.log_prob(z.detach().clone()), q.log_prob(z), rtol=0, atol=0)
    # A planted mistake: the density of another draw.
    assert not torch.allclose(q.log_prob(z.flip(0).clone()), q.log_prob(z), atol=0.1)


def test_flow_contains_the_full_covariance():
    flow, full = make_family("flow", 3), make_family("full", 3)
    parameters = random_parameters(full, 5)
    spline_and_mixing = torch.zeros(5, flow.size - full.size, dtype=torch.float64)
    bent = flow.distribution(torch.cat([spline_and_mixing, parameters], -1))
    straight = full.distribution(parameters)
    z = straight.sample()
    torch.testing.assert_close(bent.log_prob(z), straight.log_prob(z), rtol=0, atol=1e-10)


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
    with pytest.raises(ValueError, match="latent must be a whole number of at least 1; got 0"):
        make_family("full", 0)
