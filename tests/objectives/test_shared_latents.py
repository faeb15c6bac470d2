"""Latents shared by all datapoints beside those of each, and minibatches; exact where that can be had."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroSample
from torch import nn

from pyrovae.objectives import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    PIWAE,
    TVO,
    VRIWAE,
    Averaged,
    Beta,
    FreeBits,
    Renyi,
    WakeSleep,
)

N, B, NOISE = 6, 3, 0.5
DATA = torch.randn(N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
PRIOR = torch.tensor([0.0, 1.0], dtype=torch.float64)

OBJECTIVES = [
    ELBO(),
    IWAE(num_particles=4),
    Renyi(alpha=2.0, num_particles=4),
    Renyi(alpha=-1.0, num_particles=4, vectorize_particles=False),
    VRIWAE(num_particles=4),
    MIWAE(num_particles=4),
    CIWAE(num_particles=4, vectorize_particles=False),
    TVO(num_particles=4, gradient="pathwise"),
    FreeBits(num_particles=4),
]


def posterior_of_mean():
    """Of m ~ N(0, 1), x_n ~ N(m, 1 + NOISE^2)."""
    variance = 1 + NOISE**2
    precision = 1 + N / variance
    return DATA.sum() / variance / precision, precision**-0.5


class Exact:
    """m ~ N(0, 1), z_n ~ N(m, 1), x_n ~ N(z_n, NOISE^2); the exact posterior, with parameters of its own."""

    def __init__(self):
        mean, scale = posterior_of_mean()
        self.loc = nn.Parameter(mean.clone())
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.float64))
        self.shrink = nn.Parameter(torch.tensor(NOISE**2 / (1 + NOISE**2), dtype=torch.float64))

    def model(self, rows=None):
        m = pyro.sample("m", dist.Normal(*PRIOR))
        with pyro.plate("data", N, subsample=rows, dim=-1) as chosen:
            z = pyro.sample("z", dist.Normal(m, 1.0))
            pyro.sample("x", dist.Normal(z, NOISE), obs=DATA[chosen])

    def guide(self, rows=None):
        m = pyro.sample("m", dist.Normal(self.loc, self.scale))
        with pyro.plate("data", N, subsample=rows, dim=-1) as chosen:
            loc = self.shrink * m + (1 - self.shrink) * DATA[chosen]
            pyro.sample("z", dist.Normal(loc, self.shrink.sqrt()))

    @property
    def parameters(self):
        return [self.loc, self.scale, self.shrink]

    def log_evidence(self):
        covariance = torch.eye(N).double() * (1 + NOISE**2) + 1.0
        return dist.MultivariateNormal(torch.zeros(N).double(), covariance).log_prob(DATA).item()


def batches(size=B):
    return [torch.tensor(rows) for rows in itertools.combinations(range(N), size)]


def name_of(objective):
    return f"{type(objective).__name__}-{'at once' if objective.vectorize_particles else 'in turn'}"


@pytest.mark.parametrize("objective", OBJECTIVES, ids=name_of)
def test_the_nested_bound_under_the_exact_posterior_is_the_evidence(objective):
    programs = Exact()
    loss = objective.differentiable_loss(programs.model, programs.guide)
    assert -loss.item() == pytest.approx(programs.log_evidence(), abs=1e-10)
    assert -objective.loss(programs.model, programs.guide) == pytest.approx(
        programs.log_evidence(), abs=1e-10
    )


@pytest.mark.parametrize("objective", OBJECTIVES, ids=name_of)
def test_the_mean_over_all_minibatches_is_the_bound_of_the_data_set(objective):
    programs = Exact()
    values = []
    for rows in batches():
        torch.manual_seed(0)  # the same shared draw in every batch
        values.append(-objective.loss(programs.model, programs.guide, rows))
    assert sum(values) / len(values) == pytest.approx(programs.log_evidence(), abs=1e-10)
    assert max(values) - min(values) > 0.1


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
@pytest.mark.parametrize("objective", [ELBO, IWAE, MIWAE])
def test_the_exact_posterior_has_no_gradient_without_its_score(objective, gradient):
    programs = Exact()
    made = objective(num_particles=4, gradient=gradient)
    loss = made.differentiable_loss(programs.model, programs.guide)
    for found in torch.autograd.grad(loss, programs.parameters):
        assert abs(found) < 1e-10


@pytest.mark.parametrize(
    "pair",
    [
        (ELBO(num_particles=2), ELBO(num_particles=2, gradient="stl")),
        (IWAE(num_particles=3), IWAE(num_particles=3, gradient="dreg")),
        (IWAE(num_particles=3), IWAE(num_particles=3, gradient="score")),
        (TVO(num_particles=3, gradient="pathwise"), TVO(num_particles=3, gradient="dreg")),
    ],
    ids=lambda pair: f"{type(pair[0]).__name__}-{pair[1].gradient}",
)
def test_gradients_of_the_nested_bound_agree(pair):
    """Away from the posterior, on a minibatch, paired draws; |z| < 5."""
    programs = Exact()
    with torch.no_grad():
        for parameter in programs.parameters:
            parameter.mul_(1.5).add_(0.1)
    rows, differences = batches()[4], []
    for seed in range(100):
        found = []
        for objective in pair:
            torch.manual_seed(seed)
            loss = objective.differentiable_loss(programs.model, programs.guide, rows)
            found.append(torch.stack(torch.autograd.grad(loss, programs.parameters)))
        differences.append(found[0] - found[1])
    sample = torch.stack(differences)
    z = sample.mean(0) / (sample.std(0) / len(sample) ** 0.5).clamp(min=1e-12)
    assert z.abs().max() < 5


def test_a_shared_latent_in_the_exponent_would_be_seen():
    """The twin: a bound that puts the shared terms into every weight."""

    class Inside(IWAE):
        def value(self, particles):
            return self.bound(particles.log_weights + particles.log_outside).sum() * particles.scale

    programs = Exact()
    wrong = -Inside(num_particles=4).loss(programs.model, programs.guide)
    assert abs(wrong - programs.log_evidence()) > 0.1


def test_minibatches_of_an_inexact_guide_have_the_expectation_of_the_whole():
    programs = Exact()
    with torch.no_grad():
        programs.shrink.mul_(3.0)
    objective = IWAE(num_particles=3)
    runs = 300
    whole = torch.tensor([objective.loss(programs.model, programs.guide) for _ in range(runs)])
    part = torch.tensor(
        [
            objective.loss(programs.model, programs.guide, rows)
            for _ in range(runs // 20)
            for rows in batches()
        ]
    )
    error = (whole.var() / len(whole) + part.var() / len(part)).sqrt()
    assert abs(whole.mean() - part.mean()) < 5 * error
    assert -whole.mean() < programs.log_evidence() - 0.1


def nested(rows, columns, data="data"):
    """Local latents in two nested plates, both of them subsampled, with the exact posterior as guide."""
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def chosen(groups, members):
        return x[groups][:, members]

    def model():
        outer = pyro.plate("groups", 4, subsample=rows, dim=-2)
        inner = pyro.plate(data, 5, subsample=columns, dim=-1)
        with outer as groups, inner as members:
            z = pyro.sample("z", dist.Normal(PRIOR[0], 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=chosen(groups, members))

    def guide():
        outer = pyro.plate("groups", 4, subsample=rows, dim=-2)
        inner = pyro.plate(data, 5, subsample=columns, dim=-1)
        with outer as groups, inner as members:
            loc = chosen(groups, members) / 2
            pyro.sample("z", dist.Normal(loc, 0.5**0.5))

    return model, guide, dist.Normal(PRIOR[0], 2**0.5).log_prob(x).sum().item()


@pytest.mark.parametrize("objective", [ELBO(), IWAE(num_particles=3)], ids=name_of)
def test_nested_plates_that_are_both_subsampled(objective):
    values = []
    for rows in itertools.combinations(range(4), 2):
        for columns in itertools.combinations(range(5), 2):
            model, guide, exact = nested(torch.tensor(rows), torch.tensor(columns))
            values.append(-objective.loss(model, guide))
    assert sum(values) / len(values) == pytest.approx(exact, abs=1e-10)


def test_an_inner_plate_may_be_subsampled_only_where_the_bound_is_linear():
    model, guide, exact = nested(torch.arange(4), torch.tensor([0, 3]), data="members")
    ELBO().loss(model, guide)
    with pytest.raises(ValueError, match=r"has a scale of 2\.5 inside its datapoint"):
        IWAE(num_particles=2).loss(model, guide)


def test_wake_sleep_refuses_a_guide_with_shared_latents():
    programs = Exact()
    for objective in (WakeSleep(num_particles=2), TVO(num_particles=2)):
        with pytest.raises(ValueError, match="sites outside the data plate"):
            objective.differentiable_loss(programs.model, programs.guide)


def test_several_draws_of_what_is_shared_lower_its_variance():
    programs = Exact()
    with torch.no_grad():
        programs.scale.mul_(2.0)
    spread = []
    for objective in (
        IWAE(num_particles=2),
        Averaged(objective="IWAE", num_particles=2, repeats=4),
    ):
        losses = [objective.differentiable_loss(programs.model, programs.guide) for _ in range(200)]
        found = [torch.autograd.grad(loss, programs.loc)[0] for loss in losses]
        spread.append(torch.stack(found).var())
    # A ratio of variances of 200 draws each: within a factor of 2 by far more than 5 standard errors.
    assert 2 < spread[0] / spread[1] < 8


class BayesianDecoder(PyroModule):
    """A linear decoder whose weights have a prior, with Pyro's automatic guide for them and an encoder."""

    def __init__(self):
        super().__init__()
        self.linear = PyroModule[nn.Linear](2, 3).double()
        prior = dist.Normal(torch.zeros(3, 2).double(), 1.0).to_event(2)
        self.linear.weight = PyroSample(prior)

    def forward(self, x):
        weight, bias = self.linear.weight, self.linear.bias
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight.mT + bias, 1.0).to_event(1), obs=x)


def test_a_prior_over_the_weights_of_a_decoder():
    torch.manual_seed(0)
    x, model, encoder = torch.randn(5, 3).double(), BayesianDecoder(), nn.Linear(3, 2).double()
    shared = AutoNormal(poutine.block(model, expose=["linear.weight"]), init_scale=0.1)

    def guide(x):
        shared(x)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(encoder(x), 0.8).to_event(1))

    shared(x)  # its first call makes its parameters
    torch.manual_seed(1)
    expected = Trace_ELBO().loss(model, guide, x)
    torch.manual_seed(1)
    assert ELBO().loss(model, guide, x) == pytest.approx(expected, abs=1e-10)
    parameters = [*model.parameters(), *shared.parameters(), *encoder.parameters()]
    for objective in (IWAE(gradient="dreg"), IWAE(gradient="score")):
        loss = objective.differentiable_loss(model, guide, x)
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(loss, parameters))
    means = [
        -torch.tensor([each.loss(model, guide, x) for _ in range(50)]).mean()
        for each in (ELBO(), IWAE(num_particles=20))
    ]
    assert means[1] > means[0]


def test_a_prior_over_the_weights_of_a_mixture():
    """Shared weights and locations, a class per datapoint summed out: value against exact integration."""
    x = DATA[:2]
    grid = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)

    def likelihood(w):
        near, far = (dist.Normal(PRIOR[0] + m, 1.0).log_prob(x).exp() for m in (0.0, 2.0))
        return (w[..., None] * near + (1 - w[..., None]) * far).log().sum(-1)

    exact = math.log(likelihood(grid).exp().mean())

    def model():
        w = pyro.sample("w", dist.Uniform(torch.zeros(()).double(), torch.ones(()).double()))
        with pyro.plate("data", 2, dim=-1):
            y = pyro.sample("y", dist.Bernoulli(1 - w), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(2.0 * y, 1.0), obs=x)

    def guide():
        pyro.sample("w", dist.Uniform(torch.zeros(()).double(), torch.ones(()).double()))

    objective = IWAE(num_particles=2)
    values = -torch.tensor([objective.loss(model, guide) for _ in range(400)]).double()
    expected = likelihood(grid).mean()  # the guide is the prior, and classes are summed out exactly
    assert abs(values.mean() - expected) < 5 * values.std() / 20 + 1e-3
    assert values.mean() < exact


def test_the_score_of_what_is_shared_follows_the_bound_of_the_guide():
    """In PIWAE that is the bound of groups: a switch that is drawn, against one that is summed over."""
    logit = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def model():
        s = pyro.sample("s", dist.Bernoulli(PRIOR[1] / 2))
        with pyro.plate("data", 2, dim=-1):
            z = pyro.sample("z", dist.Normal(PRIOR[0], 1.0))
            pyro.sample("x", dist.Normal(z + 3 * s, NOISE), obs=DATA[:2])

    def guide():
        pyro.sample("s", dist.Bernoulli(logits=logit))
        with pyro.plate("data", 2, dim=-1):
            pyro.sample("z", dist.Normal(PRIOR[0], 1.0))

    found = []
    for part in (PIWAE, MIWAE):
        objective = part(num_particles=6, groups=3, baseline="none")
        torch.manual_seed(0)
        loss = objective.differentiable_loss(model, guide)
        found.append(torch.autograd.grad(loss, logit)[0])
    assert found[0] == found[1]


def test_several_evaluations_are_one_step_of_a_warm_up():
    programs, beta = Exact(), Beta(warm_up=4)
    for step in range(1, 4):
        Averaged(objective=beta, repeats=3).differentiable_loss(programs.model, programs.guide)
        assert beta.steps == step
