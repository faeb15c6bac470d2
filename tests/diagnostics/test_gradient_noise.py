"""Gradient noise against programs whose gradient has a known mean and variance."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.nn import PyroModule
from torch import nn

from pyrovae.diagnostics.gradient_noise import (
    GradientNoise,
    gradient_noise,
    noise_table,
    plot_noise,
    slope,
)
from pyrovae.guides import Amortized
from pyrovae.models import VAE, ProbabilisticPCA
from pyrovae.objectives import ELBO, IWAE, MIWAE, Beta


class Known(PyroModule):
    """z ~ N(theta, 1) in the model and N(0, 1) in the guide: d ELBO / d theta = z - theta."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(-2.0))
        self.unused = nn.Parameter(torch.tensor(0.0))

    def forward(self):
        with pyro.plate("data", 1, dim=-1):
            pyro.sample("z", dist.Normal(self.theta, 1.0))


def known_guide():
    with pyro.plate("data", 1, dim=-1):
        pyro.sample("z", dist.Normal(0.0, 1.0))


@pytest.mark.parametrize("objective", [ELBO(), ELBO(num_particles=4), Trace_ELBO()])
def test_mean_and_variance_of_a_known_gradient(objective):
    repeats = 400
    noise = gradient_noise(objective, Known(), known_guide, repeats=repeats)
    variance = 1 / objective.num_particles
    error = math.sqrt(variance / repeats)
    assert abs(noise.mean["model.theta"] - 2.0) < 5 * error
    assert abs(noise.variance["model.theta"] - variance) < 5 * variance * math.sqrt(2 / repeats)
    assert noise.snr() == pytest.approx(2 / math.sqrt(variance), rel=0.2)
    assert noise.mean["model.unused"] == 0.0
    assert math.isnan(noise.snr("model.unused"))


def test_noise_alone_has_no_signal():
    model = Known()
    nn.init.zeros_(model.theta)
    noise = gradient_noise(ELBO(), model, known_guide, repeats=400)
    assert noise.snr() < 5 / 20


def test_nothing_else_changes():
    model, guide = VAE(4, latent=2, hidden=(5,)), Amortized(4, 2, hidden=(5,))
    before = {p: p.detach().clone() for p in [*model.parameters(), *guide.parameters()]}
    kept = next(model.parameters())
    kept.grad = torch.ones_like(kept)
    state = torch.get_rng_state()
    noise = gradient_noise(IWAE(), model, guide, torch.randn(3, 4), repeats=3)
    torch.set_rng_state(state)
    assert all(torch.equal(p, value) for p, value in before.items())
    assert torch.equal(kept.grad, torch.ones_like(kept))
    assert set(noise.names("guide")) == {f"guide.{n}" for n, _ in guide.named_parameters()}
    assert len(pyro.get_param_store()) == 0


def test_the_seed_decides():
    programs = VAE(4, latent=2, hidden=(5,)), Amortized(4, 2, hidden=(5,)), torch.ones(3, 4)
    one, other = (gradient_noise(IWAE(), *programs, repeats=3, seed=s) for s in (1, 2))
    again = gradient_noise(IWAE(), *programs, repeats=3, seed=1)
    assert one.snr() == again.snr() != other.snr()


def test_parameters_of_plain_functions_are_found():
    def model(x):
        loc = pyro.param("loc", torch.tensor(1.0))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(loc, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        scale = pyro.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, scale))

    noise = gradient_noise(ELBO(), model, guide, torch.zeros(3), repeats=5)
    assert noise.names() == ["model.loc", "guide.scale"]
    assert noise.noise("guide") > 0


def test_tables_and_plots_by_particles_and_groups():
    programs = VAE(4, latent=2, hidden=(5,)), Amortized(4, 2, hidden=(5,)), torch.ones(3, 4)
    found = {
        (m, k): gradient_noise(MIWAE(num_particles=m * k, groups=m), *programs, repeats=4)
        for m in (1, 2)
        for k in (1, 3)
    }
    table = noise_table(found)
    assert [(row["label"], row["parameters"]) for row in table[:2]] == [
        ((1, 1), "model"),
        ((1, 1), "guide"),
    ]
    assert len(table) == 8
    assert len(noise_table(found, by="parameter")) == 4 * len(found[1, 1].names())
    axes = plot_noise({"MIWAE": {k: n for (m, k), n in found.items() if m == 1}})
    assert [line.get_label() for line in axes.lines] == ["MIWAE, model", "MIWAE, guide"]
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_slopes_of_powers_are_their_exponents():
    assert slope({k: 3 * k**-0.5 for k in (1, 2, 8, 64)}) == pytest.approx(-0.5)
    for ratios in ({}, {1: 2.0}, {1: 2.0, 4: 0.0}, {1: 2.0, 4: math.inf}, {1: math.nan, 4: 1.0}):
        with pytest.raises(ValueError, match="a slope needs two or more, above 0 and finite"):
            slope(ratios)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="repeats must be a whole number of at least 2; got 1"):
        gradient_noise(ELBO(), Known(), known_guide, repeats=1)
    with pytest.raises(ValueError, match="have no parameters"):
        gradient_noise(ELBO(), known_guide, known_guide)


def test_exact_gradients_have_an_infinite_ratio():
    noise = GradientNoise({"guide.a": torch.ones(2)}, {"guide.a": torch.zeros(2)}, 10)
    assert noise.snr() == math.inf


def test_a_measurement_takes_no_steps_of_a_warm_up():
    """After 20 gradients that moved nothing, a warm-up of 10 steps was over."""
    model, guide = ProbabilisticPCA(5, latent=2), Amortized(5, 2)
    beta = Beta(beta=4.0, warm_up=10)
    gradient_noise(beta, model, guide, torch.randn(4, 5), repeats=20)
    assert beta.weight() == 0.0
