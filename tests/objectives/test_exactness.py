"""With the exact posterior as guide every log-weight is log p(x): no tolerance for sampling is needed."""

import copy
import inspect
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule

from pyrovae import log_weights, objectives
from pyrovae.guides import ExactPosterior
from pyrovae.models import GaussianMixture, ProbabilisticPCA
from pyrovae.programs import data_plate

N, B = 12, 4
INDEX = torch.tensor([7, 0, 3, 11])
ALPHAS = (-1.0, 0.0, 0.5, 2.0)

# Options that make sense of an objective, where its defaults are not the whole story.
VARIANTS = {
    "Renyi": [{"alpha": alpha} for alpha in (*ALPHAS, -math.inf)],
    "VRIWAE": [{"alpha": 0.0}, {"alpha": 0.5}],
    "WakeSleep": [{"insomnia": insomnia} for insomnia in (1.0, 0.5)],
    "Beta": [
        {"beta": 0.5},
        {"objective": "IWAE", "beta": 2.0, "warm_up": 3, "gradient": "dreg"},
    ],
    "Averaged": [{"objective": "IWAE", "repeats": 2}],
    "FreeBits": [{"per": "dimension"}, {"per": "site"}],
}


class SampledPosterior(ExactPosterior):
    """The exact posterior of a discrete latent, drawn rather than enumerated."""

    def forward(self, x, index=None, size=None):
        with data_plate(len(x), index, size):
            return pyro.sample("z", self.model.posterior(x))


class Empty(PyroModule):
    """Draws nothing: the model's discrete site is summed out."""

    def __init__(self, model):
        super().__init__()

    def forward(self, x, index=None, size=None):
        pass


def mixture():
    model = GaussianMixture(3, components=4, covariance="full").double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
    return model


def pca():
    return ProbabilisticPCA(3, latent=2).double()


PROGRAMS = {
    "pca": (pca, ExactPosterior),
    "mixture, enumerated in the guide": (mixture, ExactPosterior),
    "mixture, enumerated in the model": (mixture, Empty),
    "mixture, drawn": (mixture, SampledPosterior),
}


EVERY = [
    pytest.param(name, options, id=f"{name} {options or ''}".strip())
    for name in objectives.__all__
    for options in VARIANTS.get(name, [{}])
]
# Those whose gradient is that of their bound: not of a weighted one.
BOUND = [each for each in EVERY if each.values[0] not in ("Beta", "FreeBits", "WakeSleep")]


def gradients_of(name, options, programs="pca"):
    """The gradients that an objective knows and that these programs can take."""
    part = getattr(objectives, name)
    choosable = "gradient" in inspect.signature(part).parameters and "gradient" not in options
    known = part.allowed_gradients if choosable else (options.get("gradient", "its own"),)
    refused = {"dreg"} if options.get("alpha") == -math.inf else set()
    if programs == "mixture, drawn":  # see test_invalid.py
        refused |= {"stl", "dreg"}
        if name == "FreeBits":
            refused |= {"its own"}
    return [gradient for gradient in known if gradient not in refused]


def build(name, options, gradient, num_particles=1, vectorize=True):
    part = getattr(objectives, name)
    given = {
        "num_particles": num_particles,
        "vectorize_particles": vectorize,
        "gradient": gradient,
        **options,
    }
    known = inspect.signature(part).parameters
    given["groups"] = 5 if num_particles == 50 else num_particles
    return part(**{key: value for key, value in given.items() if key in known})


@pytest.mark.parametrize("programs", PROGRAMS)
@pytest.mark.parametrize(("name", "options"), EVERY)
def test_every_bound_is_the_exact_evidence(name, options, programs):
    make, guide_class = PROGRAMS[programs]
    model = make()
    guide = guide_class(model)
    x = torch.randn(B, 3, dtype=torch.float64)
    exact = model.exact_log_evidence(x).sum()
    for gradient in gradients_of(name, options, programs):
        for num_particles in (1, 3, 50):
            for vectorize in (True, False):
                if not vectorize and num_particles == 50 and (name, gradient) != ("IWAE", "dreg"):
                    continue
                objective = build(name, options, gradient, num_particles, vectorize)
                whole = objective.differentiable_loss(model, guide, x)
                part = objective.differentiable_loss(model, guide, x, index=INDEX, size=N)
                torch.testing.assert_close(-whole, exact, atol=1e-10, rtol=0)
                torch.testing.assert_close(-part, exact * N / B, atol=1e-10, rtol=0)
                assert abs(objective.loss(model, guide, x) + exact) < 1e-10


@pytest.mark.parametrize("programs", PROGRAMS)
def test_every_log_weight_is_the_exact_evidence(programs):
    make, guide_class = PROGRAMS[programs]
    model = make()
    x = torch.randn(B, 3, dtype=torch.float64)
    for kwargs in ({}, {"index": INDEX, "size": N}):
        weights = log_weights(model, guide_class(model), x, num_particles=5, **kwargs)
        exact = model.exact_log_evidence(x).expand(5, B)
        torch.testing.assert_close(weights, exact, atol=1e-10, rtol=0)


@pytest.mark.parametrize("programs", ["pca", "mixture, enumerated in the guide"])
@pytest.mark.parametrize("gradient", ["stl", "dreg"])
@pytest.mark.parametrize(("name", "options"), BOUND)
def test_gradients_without_the_score_of_an_exact_guide_are_zero(name, options, gradient, programs):
    if gradient not in gradients_of(name, options):
        return
    make, guide_class = PROGRAMS[programs]
    model = make()
    guide = guide_class(copy.deepcopy(model))
    x = torch.randn(B, 3, dtype=torch.float64)
    for num_particles in (1, 3, 50):
        objective = build(name, options, gradient, num_particles)
        loss = objective.differentiable_loss(model, guide, x, index=INDEX, size=N)
        found = torch.autograd.grad(loss, list(guide.model.parameters()), allow_unused=True)
        for each in found:
            assert each is None or each.abs().max() < 1e-10


@pytest.mark.parametrize("programs", ["pca", "mixture, enumerated in the guide"])
@pytest.mark.parametrize(("name", "options"), BOUND)
def test_the_path_gradient_of_a_shared_posterior_is_the_score_of_the_model(name, options, programs):
    if "pathwise" not in gradients_of(name, options):
        return
    make, guide_class = PROGRAMS[programs]
    model = make()
    x = torch.randn(B, 3, dtype=torch.float64)
    parameters = list(model.parameters())
    exact = torch.autograd.grad(model.exact_log_evidence(x).sum() * N / B, parameters)
    objective = build(name, options, "pathwise", 3)
    loss = objective.differentiable_loss(model, guide_class(model), x, index=INDEX, size=N)
    for ours, truth in zip(torch.autograd.grad(-loss, parameters), exact):
        torch.testing.assert_close(ours, truth, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("vectorize", [True, False])
def test_a_dropped_log_k_would_be_seen(vectorize):
    """The twin: an objective with a planted mistake, which the test above must reject."""

    class Dropped(objectives.IWAE):
        def bound(self, log_weights):
            return log_weights.logsumexp(0)

    model = pca()
    x = torch.randn(B, 3, dtype=torch.float64)
    objective = Dropped(num_particles=3, vectorize_particles=vectorize)
    error = -objective.loss(model, ExactPosterior(model), x) - model.exact_log_evidence(x).sum()
    assert abs(error.item() - B * math.log(3)) < 1e-10


def test_a_scale_in_the_exponent_would_be_seen():
    class Scaled(objectives.IWAE):
        def value(self, particles):
            return self.bound(particles.log_weights * particles.scale).sum()

    def guide(x, index=None, size=None):
        with data_plate(len(x), index, size):
            pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))

    model = pca()
    x = torch.randn(B, 3, dtype=torch.float64)
    kwargs = {"index": INDEX, "size": 10 * B}
    torch.manual_seed(0)
    wrong = Scaled(num_particles=50).loss(model, guide, x, **kwargs)
    torch.manual_seed(0)
    right = objectives.IWAE(num_particles=50).loss(model, guide, x, **kwargs)
    assert -wrong > -right + 5.0
