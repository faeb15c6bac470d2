"""The continuous Bernoulli is a density at any log-odds: integrals, derivatives, draws, its start."""

import functools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from scipy.stats import kstest

import pyrovae
from pyrovae.guides import Amortized
from pyrovae.likelihoods import make_likelihood
from pyrovae.models import VAE

SIZES = (1e-6, 1e-3, 0.1, 0.499, 0.501, 1.0, 15.0, 20.0, 50.0, 200.0)
LOGITS = (0.0, *SIZES, *(-size for size in SIZES))
NODES, WEIGHTS = (torch.tensor(0.5 * part) for part in np.polynomial.legendre.leggauss(256))


def made(logits, dtype=torch.float64):
    """As a decoder makes it, one pixel for each of the log-odds."""
    logits = torch.as_tensor(logits, dtype=dtype)
    return make_likelihood("continuous_bernoulli", 1).distribution(logits).base_dist


def integrals(logits, dtype):
    """Of the density, and of x times it, by 256 points, which are exact for all of `LOGITS`."""
    x = (NODES + 0.5).to(dtype)
    density = made(logits, dtype).log_prob(x[:, None]).double().exp()
    weights = WEIGHTS[:, None]
    return (weights * density).sum(0), (weights * density * x.double()[:, None]).sum(0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_integrates_to_one_and_has_the_mean_it_says(dtype):
    mass, mean = integrals(LOGITS, dtype)
    # The rounding of a point x moves the density by so much of itself.
    tolerance = 4 * torch.finfo(dtype).eps * (1 + torch.tensor(LOGITS).double().abs())
    assert ((mass - 1).abs() < tolerance).all()
    assert ((mean - made(LOGITS, dtype).mean.double()).abs() < tolerance).all()


def test_the_integrals_notice_a_share_that_is_rounded():
    """A planted mistake: torch's own, whose constant is that of log-odds which a share can have."""
    x = (NODES + 0.5).float()
    rounded = dist.ContinuousBernoulli(logits=torch.tensor(-20.0))
    assert abs(float((WEIGHTS * rounded.log_prob(x).double().exp()).sum()) - 1) > 0.1


def test_where_nothing_is_rounded_it_is_that_of_torch():
    logits = torch.linspace(-6, 6, 241, dtype=torch.float64)
    x = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None]
    theirs, ours = dist.ContinuousBernoulli(logits=logits), made(logits)
    for found, expected in (
        (ours.log_prob(x), theirs.log_prob(x)),
        (ours.mean, theirs.mean),
        (ours.variance, theirs.variance),
        (ours.icdf(x), theirs.icdf(x)),
    ):
        # Theirs is the uniform one where the share is within 0.001 of a half.
        away = logits.abs() > 0.005
        torch.testing.assert_close(found[..., away], expected[..., away], rtol=1e-8, atol=1e-10)
    assert (ours.log_prob(x) - theirs.log_prob(x)).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["log_prob", "mean", "variance", "icdf"])
def test_its_derivatives_are_right_twice_over(name):
    a = torch.tensor([0.0, 1e-6, 0.3, 0.4999, 0.5001, 3.0, 60.0], dtype=torch.float64)
    a = torch.cat([a, -a[1:]]).requires_grad_()
    x = torch.tensor([[0.001], [0.4], [0.999]], dtype=torch.float64)

    def function(a):
        found = getattr(made(a), name)
        return found(x) if callable(found) else found

    assert torch.autograd.gradcheck(function, a)
    assert torch.autograd.gradgradcheck(function, a)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_its_slope_is_x_less_the_mean_and_its_curvature_the_variance(dtype):
    a, x = torch.tensor(LOGITS, dtype=dtype, requires_grad=True), torch.tensor(0.3, dtype=dtype)
    one = made(a, dtype)
    (slope,) = torch.autograd.grad(one.log_prob(x).sum(), a, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), a)
    # Of the terms that cancel next to a = 1/2, 1 / a and 1 / a^2, a few roundings are left.
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(slope, x - one.mean, rtol=0, atol=8 * eps)
    torch.testing.assert_close(curvature, -one.variance, rtol=0, atol=16 * eps)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_nothing_overflows_at_any_logits(dtype):
    a = torch.tensor([0.0, 1e-30, 0.5, 88.0, 89.0, 104.0, 750.0, 1e4, 1e10], dtype=dtype)
    a = torch.cat([a, -a]).requires_grad_()
    x = torch.tensor([[0.0], [1e-4], [0.5], [1.0]], dtype=dtype)
    for name in ("log_prob", "mean", "variance", "icdf"):
        found = getattr(made(a, dtype), name)
        value = found(x) if callable(found) else found
        (first,) = torch.autograd.grad(value.sum(), a, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), a)
        assert all(part.isfinite().all() for part in (value, first, second))
    (slope,) = torch.autograd.grad(made(a, dtype).log_prob(x[2]).sum(), a)
    assert slope[0] == 0  # of a x - a / 2 at x = 1/2
    assert torch.equal(made(a, dtype).icdf(x[[0, 3]])[:, 0], x[[0, 3], 0])


def share_below(a):
    """The distribution function, in double precision."""
    return lambda x: x if a == 0 else np.expm1(a * x) / np.expm1(a)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("a", [-50.0, -1.0, 0.0, 1e-4, 8.0, 50.0])
def test_draws_have_its_distribution(a, dtype):
    torch.manual_seed(0)
    one = made([a], dtype)
    x = one.sample((20000,)).double()[:, 0]
    assert ((x >= 0) & (x <= 1)).all()
    error = (one.variance.double() / 20000).sqrt()
    assert (x.mean() - one.mean.double()).abs() < 5 * error
    assert kstest(x.numpy(), share_below(a)).pvalue > 1e-3
    # A planted mistake: other log-odds.
    assert kstest(x.numpy(), share_below(1.2 * a + 0.5)).pvalue < 1e-6


def test_draws_carry_the_gradient_of_the_mean():
    """The derivative of E[x] is the variance, whether or not the log-odds are small."""
    torch.manual_seed(0)
    a = torch.tensor([-20.0, -0.4, 0.0, 0.6, 20.0], dtype=torch.float64)
    each = a.expand(40000, -1).clone().requires_grad_()
    (slope,) = torch.autograd.grad(made(each).rsample().sum(), each)
    error = slope.std(0) / math.sqrt(40000)
    assert ((slope.mean(0) - made(a).variance).abs() < 5 * error).all()


def test_a_share_of_a_billionth_is_found_from_either_end():
    for a in (-50.0, -20.0, 0.0, 20.0, 50.0):
        for share in (1e-10, 1e-5, 1 - 2.0**-20):
            exact = share if a == 0 else np.log1p(share * np.expm1(a)) / a
            found = float(made([a], torch.float32).icdf(torch.tensor(share)))
            assert found == pytest.approx(exact, abs=1e-6)


def test_it_starts_where_the_mean_is():
    """Means of 0 and 1 count as 0.01 and 0.99, where the log-odds are -100 and 100."""
    x = torch.tensor([0.0, 0.01, 0.05, 0.5, 0.95, 0.99, 1.0]).expand(3, -1)
    likelihood = make_likelihood("continuous_bernoulli", 7)
    start = likelihood.start(x)
    expected = torch.tensor([-100.0, -100.0, -20.0, 0.0, 20.0, 100.0, 100.0])
    torch.testing.assert_close(start, expected, rtol=1e-5, atol=1e-5)
    mean = likelihood.distribution(start).mean
    torch.testing.assert_close(mean, x[0].clamp(0.01, 0.99), rtol=1e-6, atol=0)


def test_it_is_a_distribution_of_pyro():
    logits = torch.tensor([[-30.0, 0.0, 30.0]])
    with pyro.plate("data", 4), poutine.trace() as traced:
        x = pyro.sample("x", made(logits, torch.float32).to_event(1))
    site = traced.trace.nodes["x"]
    traced.trace.compute_log_prob()
    expected = made(logits, torch.float32).log_prob(x).sum(-1)
    torch.testing.assert_close(site["log_prob"], expected)
    assert x.shape == (4, 3)
    present = torch.tensor([True, False, True])
    masked = made(logits, torch.float32).mask(present).log_prob(x)
    assert (masked[:, 1] == 0).all()
    wide = made(logits, torch.float32).expand((4, 3))
    assert wide.has_rsample
    assert wide.log_prob(x).shape == wide.mean.shape == (4, 3)
    with pytest.raises(ValueError, match="logits"):
        made([math.nan], torch.float32)


def test_a_vae_of_it_trains_on_pixels_that_are_always_black():
    """Under Pyro's own SVI and ours; they begin at the density of 100 that log-odds of -100 have."""
    torch.manual_seed(0)
    x = torch.rand(64, 8)
    x[:, :4] = 0
    model = VAE(8, latent=2, hidden=(8,), likelihood="continuous_bernoulli")
    guide = Amortized(8, 2, hidden=(8,))
    model.initialise(x)
    adam = functools.partial(torch.optim.Adam, lr=1e-3)
    pyrovae.fit(model, guide, x, optim=adam, epochs=5, progress=False)
    stock = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    assert math.isfinite(stock.step(x))
    black = model.decode(torch.zeros(1, 2)).base_dist.log_prob(x[:1])[0, :4]
    torch.testing.assert_close(black.exp(), torch.full((4,), 100.0), rtol=0.05, atol=0)
