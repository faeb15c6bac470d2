"""Importance sampling: exactly K draws whatever the chunk, and nothing lost in adding them up."""

import math

import pytest
import torch

from pyrovae import log_weights
from pyrovae.evidence import ImportanceSampling
from pyrovae.guides import Amortized, PerDatapoint
from pyrovae.models import VAE, ProbabilisticPCA
from pyrovae.sampling import particle_blocks
from pyrovae.sampling.moments import LogMoments


def problem(family="diagonal", dtype=torch.float32):
    model = VAE(6, latent=2, hidden=(8,)).to(dtype)
    guide = Amortized(6, 2, hidden=(8,), family=family).to(dtype)
    return model, guide, torch.rand(9, 6, dtype=dtype)


@pytest.mark.parametrize("family", ["diagonal", "full", "flow"])
@pytest.mark.parametrize("num_particles", [1, 49, 50, 51, 130])
def test_every_chunk_size_has_the_same_draws(family, num_particles):
    model, guide, x = problem(family)
    whole = ImportanceSampling(num_particles=num_particles, keep=True)(model, guide, x)
    assert whole.log_weights.shape == (num_particles, 9)
    assert whole.cost == num_particles
    for chunk_size in (1, 7, 64, 1000):
        estimator = ImportanceSampling(
            num_particles=num_particles, chunk_size=chunk_size, keep=True
        )
        chunked = estimator(model, guide, x)
        assert chunked.log_weights.shape == (num_particles, 9)
        torch.testing.assert_close(chunked.value, whole.value, rtol=1e-6, atol=1e-6)


def test_more_particles_begin_with_the_same_ones():
    model, guide, x = problem()
    few = ImportanceSampling(num_particles=50, keep=True)(model, guide, x).log_weights
    many = ImportanceSampling(num_particles=120, keep=True)(model, guide, x).log_weights
    torch.testing.assert_close(many[:50], few, rtol=1e-5, atol=1e-5)


def test_the_weights_are_those_of_the_waist(monkeypatch):
    """The quick road (draw, then score at the draws) against the waist's, with the same noise."""
    model, guide, x = problem(dtype=torch.float64)
    quick = ImportanceSampling(num_particles=40, keep=True)(model, guide, x, seed=5).log_weights
    torch.manual_seed(next(seeds(5)))
    torch.testing.assert_close(log_weights(model, guide, x, num_particles=40), quick)


def seeds(seed):
    with torch.random.fork_rng():
        for _ in particle_blocks.blocks(40, seed):
            yield torch.initial_seed()


def test_five_thousand_single_precision_weights_lose_nothing():
    log_w = (30 * torch.randn(5000, 20) - 900).float()
    exact = log_w.double().logsumexp(0) - math.log(5000)
    total = LogMoments()
    for chunk in log_w.split(37):
        total.add(chunk)
    value, error = total.result()
    torch.testing.assert_close(value, exact, rtol=0, atol=1e-9)
    weights = (log_w.double() - exact).exp()
    expected = weights.std(0, correction=0) / 4999**0.5
    torch.testing.assert_close(error, expected, rtol=1e-9, atol=0)
    # A planted mistake: a running mean of weights in single precision.
    lost = torch.zeros(20)
    for row in (log_w - log_w.amax(0)).exp():
        lost = lost + row / 5000
    wrong = lost.log() + log_w.amax(0)
    assert (wrong.double() - exact).abs().max() > 1e-8


def test_weights_of_zero_and_a_single_draw_have_a_stated_error():
    total = LogMoments()
    total.add(torch.tensor([[-math.inf, 0.0, -math.inf], [-math.inf, -math.inf, 1.0]]))
    total.add(torch.tensor([[-math.inf, 0.0, 1.0]]))
    value, error = total.result()
    expected = [-math.inf, math.log(2 / 3), 1 + math.log(2 / 3)]
    torch.testing.assert_close(value, torch.tensor(expected, dtype=torch.float64))
    assert error[0] == math.inf
    assert error[1:].isfinite().all()
    one = LogMoments()
    one.add(torch.zeros(1, 2))
    assert one.result()[1].tolist() == [math.inf, math.inf]
    with pytest.raises(ValueError, match="no log-weights were added"):
        LogMoments().result()


def test_weights_of_zero_in_a_first_chunk_do_not_hide_those_that_come_after():
    """They set the unit to one, and e^-1000 is nothing beside it: log p(x) was minus infinity."""
    total = LogMoments()
    for chunk in (torch.full((5, 1), -math.inf), torch.full((5, 1), -1000.0)):
        total.add(chunk)
    value, error = total.result()
    torch.testing.assert_close(value.item(), -1000 - math.log(2), rtol=0, atol=1e-12)
    torch.testing.assert_close(error.item(), 1 / 3)  # the delta method: sqrt((10 * 5 / 25 - 1) / 9)


def test_the_standard_error_is_the_spread_over_seeds():
    model, guide, x = problem()
    estimator = ImportanceSampling(num_particles=400)
    runs = [estimator(model, guide, x[:3], seed=seed) for seed in range(60)]
    spread = torch.stack([run.value for run in runs]).std(0)
    claimed = torch.stack([run.standard_error for run in runs]).mean(0)
    # The spread of 60 is known to about 1 / sqrt(2 * 59) of itself.
    assert ((claimed / spread - 1).abs() < 5 / 118**0.5).all()


def test_per_datapoint_guides_and_single_rows_work():
    model, x = ProbabilisticPCA(6, latent=2), torch.randn(4, 6)
    rows = torch.tensor([8, 1, 0, 3])
    guide = PerDatapoint(10, 2)
    estimate = ImportanceSampling(num_particles=60)(model, guide, x, index=rows, size=10)
    assert estimate.value.shape == (4,)
    single = ImportanceSampling(num_particles=60)(model, guide, x[:1], index=rows[:1], size=10)
    assert single.value.shape == (1,)
    assert single.mean()[1] == pytest.approx(float(single.standard_error[0]))
