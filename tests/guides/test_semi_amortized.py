"""The steps climb, depend on nothing but x, and training goes through them."""

import pytest
import torch

from pyrovae import log_weights
from pyrovae.guides import Amortized, SemiAmortized
from pyrovae.models import VAE, ProbabilisticPCA
from pyrovae.objectives import ELBO


def make(**settings):
    model = ProbabilisticPCA(6, latent=2).double()
    with torch.no_grad():
        model.weight.mul_(8)
    torch.manual_seed(1)
    return model, SemiAmortized(6, 2, model, hidden=(8,), **settings).double()


@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_steps_climb_to_the_best_of_the_family(family):
    x = torch.randn(7, 6, dtype=torch.float64)
    means = []
    for steps in (1, 10, 200):
        model, guide = make(family=family, steps=steps, step_size=0.05, particles=32)
        torch.manual_seed(0)
        means.append(log_weights(model, guide, x, num_particles=2000).mean().item())
    encoder = Amortized(6, 2, hidden=(8,), family=family).double()
    encoder.encoder.load_state_dict(guide.encoder.state_dict())
    start = log_weights(model, encoder, x, num_particles=2000).mean().item()
    assert start < means[0] < means[1] < means[2]
    best = model.exact_log_evidence(x).mean().item()
    assert best - means[2] < (0.25 if family == "diagonal" else 0.1) * (best - start)


def test_a_row_sees_neither_its_batch_nor_the_random_state():
    _, guide = make()
    x = torch.randn(7, 6, dtype=torch.float64)
    state = torch.get_rng_state()
    together = guide.local_parameters(x)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    alone = torch.cat([guide.local_parameters(row[None]) for row in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("step_size", [1e-3, 1.0, 1e4])
def test_no_row_ends_below_where_the_encoder_put_it(step_size):
    x = torch.randn(7, 6, dtype=torch.float64)
    _, guide = make(steps=4, step_size=step_size)
    start, _ = guide._climb(guide.encoder(x), x, False)
    end, _ = guide._climb(guide.local_parameters(x), x, False)
    assert (end >= start - 1e-9).all()
    assert (end > start + 1e-6).any()


def test_training_goes_through_the_steps_or_not():
    x = torch.randn(7, 6, dtype=torch.float64)
    for differentiate in (True, False):
        model, guide = make(differentiate=differentiate)
        torch.manual_seed(0)
        ELBO(num_particles=4).differentiable_loss(model, guide, x).backward()
        assert guide.encoder.last.weight.grad.abs().sum() > 0
        assert (guide.log_step.grad is not None) == differentiate


def test_values_are_the_same_with_and_without_gradients():
    x = torch.randn(7, 6, dtype=torch.float64)
    for differentiate in (True, False):
        _, guide = make(differentiate=differentiate)
        with torch.no_grad():
            without = guide.local_parameters(x)
        torch.testing.assert_close(guide.local_parameters(x), without, rtol=0, atol=1e-12)


def test_impossible_settings_are_refused():
    model = VAE(6, latent=2)
    for bad in ({"steps": 0}, {"particles": 3}, {"step_size": 0.0}):
        with pytest.raises(ValueError, match="at least one step"):
            SemiAmortized(6, 2, model, **bad)
    with pytest.raises(TypeError, match="carry no gradient"):
        SemiAmortized(6, 2, model, family="categorical")(torch.zeros(1, 6))
