"""The mean of p-hat / p is 1: for every estimator whose weights are unbiased, within 5 standard errors."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae
from pyrovae.evidence import (
    AnnealedImportanceSampling,
    ImportanceSampling,
    PriorMonteCarlo,
    UniformBox,
)
from pyrovae.guides import Amortized
from pyrovae.models import GaussianMixture, ProbabilisticPCA
from pyrovae.sampling import annealing
from pyrovae.sampling.hmc import transition

MODELS, ROWS = 3, 60


class MixedPCA(torch.nn.Module):
    """A mixture of probabilistic PCAs: a category that is summed out, and a vector that is drawn."""

    latent = 2

    def __init__(self):
        super().__init__()
        self.centres = torch.nn.Parameter(2.0 * torch.randn(3, 2))
        self.pca = ProbabilisticPCA(4, latent=2)

    def forward(self, x, index=None, size=None):
        with pyrovae.programs.data_plate(len(x), index, size):
            y = pyro.sample(
                "y", dist.Categorical(self.centres.new_ones(3)), infer={"enumerate": "parallel"}
            )
            z = pyro.sample("z", dist.Normal(self.centres[y], 1.0).to_event(1))
            pyro.sample("x", self.pca.decode(z), obs=x)

    def exact_log_evidence(self, x):
        shifted = x[:, None] - self.centres @ self.pca.weight.mT
        return self.pca.exact_log_evidence(shifted.flatten(0, 1)).unflatten(0, (-1, 3)).logsumexp(
            -1
        ) - math.log(3)


class Near(torch.nn.Module):
    """A guide a little wider than the exact posterior, and beside it."""

    def __init__(self, model):
        super().__init__()
        self.model = (model,)

    def forward(self, x, index=None, size=None):
        exact = self.model[0].posterior(x)
        with pyrovae.programs.data_plate(len(x), index, size):
            near = dist.MultivariateNormal(exact.loc + 0.1, scale_tril=1.2 * exact.scale_tril)
            pyro.sample("z", near)


def broad(x, index=None, size=None):
    with pyrovae.programs.data_plate(len(x), index, size):
        pyro.sample("z", dist.Normal(x.new_zeros(2), 2.5).to_event(1))


class DrawnMixture(GaussianMixture):
    """A mixture whose category is drawn, not summed out."""

    def forward(self, x, index=None, size=None):
        with pyrovae.programs.data_plate(len(x), index, size):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.decode(z), obs=x)


def models(kind):
    for seed in range(MODELS):
        torch.manual_seed(seed)
        if kind == "mixed":
            model = MixedPCA().double()
        elif kind == "mixture":
            model = DrawnMixture(4, components=5).double()
        else:
            model = ProbabilisticPCA(6, latent=kind).double()
            with torch.no_grad():
                model.weight.normal_(0, 0.5)
        if kind == "mixture":
            guide = Amortized(4, 5, hidden=(3,), family="categorical").double()
            x = model.decode(torch.randint(5, (ROWS,))).sample()
        else:
            pca = model.pca if kind == "mixed" else model
            guide = Near(pca)
            if kind == "mixed":
                guide = broad
            x = pca.decode(torch.randn(ROWS, model.latent, dtype=torch.float64)).sample()
        yield model, guide, x


def z_score(estimator, kind, wrong=lambda value: value):
    """How many standard errors the mean of p-hat / p over all pairs is away from 1."""
    ratios = torch.cat(
        [
            (wrong(estimator(model, guide, x, seed=seed).value) - model.exact_log_evidence(x)).exp()
            for seed, (model, guide, x) in enumerate(models(kind))
        ]
    )
    return ((ratios.mean() - 1.0) / (ratios.std() / len(ratios) ** 0.5)).item()


ANNEALED = AnnealedImportanceSampling(chains=4, temperatures=12, leapfrogs=3, pilot_temperatures=10)
ESTIMATORS = {
    "prior": PriorMonteCarlo(num_particles=120),
    "importance": ImportanceSampling(num_particles=120, chunk_size=7),
    "annealed": ANNEALED,
    "annealed from the guide": AnnealedImportanceSampling(
        chains=4, temperatures=6, leapfrogs=2, pilot_temperatures=6, start="guide"
    ),
}


@pytest.mark.parametrize("kind", [1, 2, 5, 10, "mixed", "mixture"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_mean_of_p_hat_is_p(name, kind):
    if kind == "mixture" and name.startswith("annealed"):
        with pytest.raises(ValueError, match="'z' is discrete"):
            z_score(ESTIMATORS[name], kind)
        return
    assert abs(z_score(ESTIMATORS[name], kind)) < 5


@pytest.mark.parametrize("kind", [1, 2])
def test_naive_monte_carlo_is_unbiased_in_few_dimensions(kind):
    assert abs(z_score(UniformBox(num_particles=400, half_width=6.0), kind)) < 5


def test_a_missing_log_k_is_found_out():
    wrong = z_score(ESTIMATORS["importance"], 2, lambda value: value + math.log(120))
    assert abs(wrong) > 5


def test_a_k_that_is_not_that_of_the_draws_is_found_out():
    """120 draws in chunks of 7 make 18 chunks: dividing by 126 is a common slip."""
    sharp = ImportanceSampling(num_particles=6000)
    right = z_score(sharp, 1)
    assert abs(right) < 5
    assert abs(z_score(sharp, 1, lambda value: value + math.log(120 / 126))) > 5


def test_mean_for_log_mean_exp_is_found_out():
    def elbo(model, guide, x, seed):
        weights = ImportanceSampling(num_particles=120, keep=True)(model, guide, x, seed=seed)
        return type("Found", (), {"value": weights.log_weights.mean(0)})

    assert abs(z_score(elbo, 2)) > 5


def test_scale_inside_the_exponent_is_found_out():
    """The N / B of a subsampled plate, multiplied before the exponential and divided after."""

    def scaled(model, guide, x, seed):
        found = ImportanceSampling(num_particles=120, keep=True)(model, guide, x, seed=seed)
        value = ((10 * found.log_weights).logsumexp(0) - math.log(120)) / 10
        return type("Found", (), {"value": value})

    assert abs(z_score(scaled, 2)) > 5


def test_steps_that_follow_their_own_chain_are_found_out(monkeypatch):
    """In-chain adaptation: a refused chain takes shorter steps, so that chains linger where they are."""
    model, _, x = list(models(1))[1]
    exact = model.exact_log_evidence(x[:8])
    own = {}

    def adapting(ends, state, beta, step, precision, leapfrogs):
        factor = own.get(state.start.shape, torch.ones_like(state.start))
        moved, accept = transition(ends, state, beta, step * factor, precision, leapfrogs)
        taken = (moved.position != state.position).any(-1)
        own[state.start.shape] = torch.where(taken, 1.1 * factor, 0.5 * factor)
        return moved, accept

    def z_of_weights():
        estimator = AnnealedImportanceSampling(
            chains=3000, temperatures=150, leapfrogs=1, pilot_temperatures=10, pilot_chains=8
        )
        ratios = (estimator(model, None, x[:8]).log_weights - exact).exp()
        return ((ratios.mean() - 1.0) / (ratios.std() / ratios.numel() ** 0.5)).item()

    right = z_of_weights()
    monkeypatch.setattr(annealing, "transition", adapting)
    assert abs(right) < 5 < abs(z_of_weights())
