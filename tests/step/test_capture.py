"""A recorded step is the step itself, to the bit, for every part of the package and for other people's."""

import ctypes
import functools
import logging
import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import ELBO, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, config_enumerate
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyrovae import SVI, guides, models, objectives
from pyrovae.likelihoods import LIKELIHOODS
from pyrovae.step import capture
from pyrovae.step.python_state import PythonState

D, N = 6, 40
ADAM = functools.partial(torch.optim.Adam, lr=0.01)
X = torch.rand(N, D, generator=torch.Generator().manual_seed(0)).round()
INDICES = [torch.arange(start % N, start % N + 8) % N for start in range(0, 800, 8)]


def steps(make, loss, batches, level, *, optim=ADAM, **options):
    """Train from the same start with the same random numbers; parameters, losses and the SVI."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    model, guide = make()
    svi = SVI(
        model, guide, optim, loss if isinstance(loss, ELBO) else loss(), level=level, **options
    )
    torch.manual_seed(1)
    losses = [svi.step(*args, **kwargs) for args, kwargs in batches]
    return [leaf.detach().clone() for leaf in svi._function.leaves], losses, svi


def rows(count):
    """Batches of 8 rows and, now and then, of 5."""
    for i in range(count):
        index = INDICES[i][: 5 if i % 10 == 9 else 8]
        yield (X[index],), {"index": index, "size": N}


def assert_same(make, loss, batches, recordings=None, **options):
    batches = list(batches)
    eager, _, _ = steps(make, loss, batches, "eager", **options)
    traced, _, svi = steps(make, loss, batches, "traced", **options)
    assert svi._capture.refused is None
    assert svi._capture.made == recordings or recordings is None
    assert eager
    assert all(torch.equal(one, other) for one, other in zip(eager, traced, strict=True))


def encoder(latent, **options):
    return guides.Amortized(D, latent, hidden=(5,), **options)


def vae():
    return models.VAE(D, latent=2, hidden=(5,), likelihood="bernoulli"), encoder(2)


def pca():
    return models.ProbabilisticPCA(D, latent=2)


def posterior_of(model):
    return model, guides.ExactPosterior(model)


def with_guide(model, guide):
    return model, guide(model)


def hierarchical():
    model = models.HierarchicalVAE(D, latent=2, lower=3, hidden=(5,), upper_hidden=(5,))
    return model, guides.Hierarchical(D, model, hidden=(5,), upper_hidden=(5,))


def vamp():
    model = models.VampPriorVAE(D, latent=2, hidden=(5,), components=3)
    return model, guides.ModelEncoder(model)


def conditional():
    model = models.ConditionalVAE(D, latent=2, condition=2, hidden=(5,), likelihood="bernoulli")
    return model, encoder(2)


def semi_amortized():
    model = pca()
    return model, guides.SemiAmortized(D, 2, model, hidden=(5,), steps=2)


MODELS = {
    "BernoulliMixture": lambda: posterior_of(models.BernoulliMixture(D, components=3)),
    "ConditionalVAE": conditional,
    "GaussianMixture": lambda: posterior_of(models.GaussianMixture(D, components=3)),
    "HierarchicalVAE": hierarchical,
    "MixturePriorVAE": lambda: (models.MixturePriorVAE(D, latent=2, hidden=(5,)), encoder(2)),
    "ProbabilisticPCA": lambda: posterior_of(pca()),
    "VAE": vae,
    "VampPriorVAE": vamp,
}
GUIDES = {
    "Amortized": vae,
    "ExactPosterior": lambda: posterior_of(pca()),
    "Hierarchical": hierarchical,
    "ModelEncoder": vamp,
    "PerDatapoint": lambda: (pca(), guides.PerDatapoint(N, 2, family="full")),
    "SemiAmortized": semi_amortized,
    # It draws only where pixels are missing: tests/guides/test_missing_pixels.py
    "MissingPixels": None,
}


def test_every_model_and_every_guide_is_here():
    assert set(MODELS) == set(models.__all__)
    assert set(GUIDES) == set(guides.__all__)


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    assert_same(MODELS[name], objectives.ELBO, rows(100), recordings=2)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_likelihoods(likelihood):
    def make():
        return models.VAE(D, latent=2, hidden=(5,), likelihood=likelihood), encoder(2)

    assert_same(make, objectives.ELBO, rows(20), recordings=2)


@pytest.mark.parametrize("name", sorted({n for n, make in GUIDES.items() if make} - {"Amortized"}))
def test_guides(name):
    assert_same(GUIDES[name], objectives.IWAE(num_particles=3), rows(30))


@pytest.mark.parametrize("name", objectives.__all__)
def test_objectives(name):
    assert_same(vae, getattr(objectives, name), [((X[i],), {}) for i in INDICES[:100]], 1)


@pytest.mark.parametrize("gradient", ["stl", "dreg", "score"])
def test_gradients(gradient):
    loss = functools.partial(objectives.IWAE, num_particles=3, gradient=gradient)
    assert_same(vae, loss, rows(30))


@pytest.mark.parametrize(
    "loss",
    [
        Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1),
        TraceEnum_ELBO(max_plate_nesting=1),
        TraceMeanField_ELBO(),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_losses_of_pyro(loss):
    assert_same(vae, loss, rows(30))


# Programs that are not ours: functions, plain modules, automatic guides, global latents, enumeration.


def coin():
    """A Beta prior and a guide with constrained parameters in the global store."""

    def model(data):
        fairness = pyro.sample("fairness", dist.Beta(10.0, 10.0))
        with pyro.plate("tosses", len(data)):
            pyro.sample("obs", dist.Bernoulli(fairness), obs=data)

    def guide(data):
        alpha = pyro.param("alpha", torch.tensor(15.0), constraint=dist.constraints.positive)
        beta = pyro.param("beta", torch.tensor(15.0), constraint=dist.constraints.positive)
        pyro.sample("fairness", dist.Beta(alpha, beta))

    return model, guide


def plain_vae():
    """Networks that are plain torch modules, registered with pyro.module."""
    decoder, encoder = nn.Linear(2, D), nn.Linear(D, 4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc, raw = encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))

    return model, guide


def regression():
    """Bayesian regression with an automatic guide and a subsample drawn inside the plate."""

    def model(x):
        weight = pyro.sample("weight", dist.Normal(torch.zeros(D - 1), 1.0).to_event(1))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("rows", N, subsample_size=10) as index:
            pyro.sample("y", dist.Normal(x[index, 1:] @ weight, scale), obs=x[index, 0])

    return model, AutoNormal(model)


def clusters():
    """A mixture whose assignments are summed out, and weights with a Dirichlet prior."""

    @config_enumerate
    def model(x):
        weights = pyro.sample("weights", dist.Dirichlet(torch.ones(3)))
        with pyro.plate("components", 3):
            loc = pyro.sample("loc", dist.Normal(0.0, 5.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(weights))
            pyro.sample("x", dist.Normal(loc[z], 1.0), obs=x)

    return model, AutoNormal(poutine.block(model, expose=["weights", "loc"]))


def markov():
    """A hidden Markov chain of fixed length, summed out, and learned transitions."""

    def model(x):
        rows = pyro.param("rows", torch.eye(2) + 0.5, constraint=dist.constraints.simplex)
        loc = pyro.param("loc", torch.tensor([-1.0, 1.0]))
        state = 0
        with pyro.plate("sequences", len(x), dim=-1):
            for t in pyro.markov(range(4)):
                state = pyro.sample(
                    f"state_{t}", dist.Categorical(rows[state]), infer={"enumerate": "parallel"}
                )
                pyro.sample(f"x_{t}", dist.Normal(loc[state], 1.0), obs=x[:, t])

    return model, lambda x: None


OTHERS = {
    "coin": (coin, Trace_ELBO(), lambda x: x[:, 0]),
    "plain VAE": (plain_vae, TraceMeanField_ELBO(), lambda x: x),
    "regression": (regression, Trace_ELBO(), None),
    "clusters": (clusters, TraceEnum_ELBO(max_plate_nesting=1), lambda x: x[:, 0]),
    "markov": (markov, TraceEnum_ELBO(max_plate_nesting=1), lambda x: x),
}


@pytest.mark.parametrize("name", OTHERS)
def test_programs_that_are_not_ours(name):
    make, loss, of = OTHERS[name]
    assert_same(make, loss, [((of(X[i]) if of else X,), {}) for i in INDICES[:100]], 1)


# What changes between steps is noticed.


def noisy_vae():
    """Dropout and batch normalisation, whose buffers change at every step."""
    network = nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
    head, decoder = nn.Linear(8, 4), nn.Linear(2, D)

    def model(x, weight, observed):
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=weight):
                z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pixels = dist.Bernoulli(logits=decoder(z)).mask(observed).to_event(1)
            pyro.sample("x", pixels, obs=x)

    def guide(x, weight, observed):
        loc, raw = head(network(x)).chunk(2, -1)
        with pyro.plate("data", len(x)), poutine.scale(scale=weight):
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))

    return model, guide


def test_dropout_batch_normalisation_masks_and_warm_up_with_one_recording():
    weights = torch.linspace(0.1, 1.0, 40)
    batches = [((X[i], weights[n], X[i] > 0.2), {}) for n, i in enumerate(INDICES[:40])]
    assert_same(noisy_vae, objectives.ELBO, batches, recordings=1)


def scheduled(parameters):
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    optimizer.schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)
    return optimizer


OPTIMIZERS = {
    "Adam": ADAM,
    "AdamW": functools.partial(torch.optim.AdamW, lr=0.01),
    "not fused": functools.partial(torch.optim.Adam, lr=0.01, foreach=True),
    "momentum": functools.partial(torch.optim.SGD, lr=1e-3, momentum=0.9),
    "Pyro's Adam": lambda: pyro.optim.Adam({"lr": 0.01}),
    "Pyro's clipped Adam": lambda: pyro.optim.ClippedAdam({"lr": 0.01, "clip_norm": 1.0}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_optimizers(name, clip_norm):
    def make(level):
        optim = OPTIMIZERS[name]
        optim = optim() if name.startswith("Pyro") else optim
        return steps(vae, objectives.ELBO, rows(9), level, optim=optim, clip_norm=clip_norm)[0]

    assert all(torch.equal(a, b) for a, b in zip(make("eager"), make("traced"), strict=True))


def test_the_short_way_is_the_step_of_torch():
    """Our call of the fused kernel, with clipping, is torch's own step, to the bit."""
    torch.manual_seed(0)
    model, guide = vae()
    twin = [nn.Parameter(p.detach().clone()) for m in (model, guide) for p in m.parameters()]
    optimizer = torch.optim.AdamW(twin, lr=0.01, fused=True)
    svi = SVI(model, guide, functools.partial(torch.optim.AdamW, lr=0.01), objectives.ELBO())
    for index in INDICES[:5]:
        torch.manual_seed(2)
        loss = objectives.ELBO().differentiable_loss(model, guide, X[index])
        for p, g in zip(twin, torch.autograd.grad(loss, svi.parameters())):
            p.grad = g
        optimizer.step()
        torch.manual_seed(2)
        svi.step(X[index])
    assert all(torch.equal(a, b) for a, b in zip(twin, svi.parameters(), strict=True))


def test_schedulers_move_the_learning_rate():
    ends = []
    for level in ("eager", "traced"):
        torch.manual_seed(0)
        model, guide = vae()
        optimizer = scheduled([*model.parameters(), *guide.parameters()])
        svi = SVI(model, guide, optimizer, objectives.ELBO(), level=level)
        for index in INDICES[:20]:
            svi.step(X[index])
            optimizer.schedule.step()
        ends.append(list(model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


class Switches(nn.Module):
    """A guide with an attribute, a mode and a frozen part that someone may change."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(D, 4)
        self.width = 1.0
        self.options = {"shift": 0.0}
        self.prior_scale = torch.tensor(1.0)

    def forward(self, x):
        loc, raw = self.layer(x).chunk(2, -1)
        scale = raw.exp() * self.width * (1.0 if self.training else 0.5)
        with pyro.plate("data", len(x)):
            loc = loc + self.options["shift"]
            pyro.sample("z", dist.Normal(loc, scale * self.prior_scale).to_event(1))


def change_attribute(guide):
    guide.width = 0.3


def change_option(guide):
    guide.options["shift"] = 0.7


def change_tensor(guide):
    guide.prior_scale = torch.tensor(0.2)


def change_tensor_in_place(guide):
    guide.prior_scale.fill_(0.2)


def change_mode(guide):
    guide.eval()


def freeze(guide):
    guide.layer.weight.requires_grad_(False)


def replace_layer(guide):
    guide.layer.weight.data.mul_(2.0)


CHANGES = (
    change_attribute,
    change_option,
    change_tensor,
    change_tensor_in_place,
    change_mode,
    freeze,
    replace_layer,
)


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_between_steps_is_noticed(change):
    ends = []
    for level in ("eager", "traced"):
        torch.manual_seed(0)
        model, guide = models.VAE(D, latent=2, hidden=(5,), likelihood="bernoulli"), Switches()
        svi = SVI(model, guide, ADAM, objectives.ELBO(), level=level)
        torch.manual_seed(1)
        for n, index in enumerate(INDICES[:16]):
            if n == 8:
                change(guide)
            svi.step(X[index])
        ends.append([*model.parameters(), *guide.parameters()])
    assert svi._capture.refused is None
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


# What cannot be recorded runs as it is, with a line that says why.


def counts_its_calls():
    calls = []
    decoder = nn.Linear(2, D)

    def model(x):
        calls.append(1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0 + len(calls)).to_event(1), obs=x)

    return model, encoder(2)


def branches_on_a_value():
    decoder = nn.Linear(2, D)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            scale = 1.0 if z.mean() > 0 else 2.0
            pyro.sample("x", dist.Normal(decoder(z), scale).to_event(1), obs=x)

    return model, encoder(2)


def draws_elsewhere():
    decoder = nn.Linear(2, D)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            scale = 1.0 + np.random.random() + random.random()
            pyro.sample("x", dist.Normal(decoder(z), scale).to_event(1), obs=x)

    return model, encoder(2)


def leaves_torch():
    decoder = nn.Linear(2, D)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            scale = torch.as_tensor(1.0 + z.detach().numpy().var())
            pyro.sample("x", dist.Normal(decoder(z), scale).to_event(1), obs=x)

    return model, encoder(2)


def changes_behind_the_scenes():
    hidden = ctypes.c_double(1.0)  # whose contents nobody can see from outside
    decoder = nn.Linear(2, D)

    def model(x):
        hidden.value += 0.1
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), hidden.value).to_event(1), obs=x)

    return model, encoder(2)


UNRECORDABLE = {
    counts_its_calls: "attributes or variables of Python",
    branches_on_a_value: "depends on a value in a tensor",
    draws_elsewhere: "random numbers",
    leaves_torch: "values out of a tensor",
    changes_behind_the_scenes: "its numbers differ",
}


@pytest.mark.parametrize("make", UNRECORDABLE, ids=lambda make: make.__name__)
def test_what_cannot_be_recorded_runs_as_it_is(make, caplog):
    batches = [((X[index],), {}) for index in INDICES[:4]]
    with caplog.at_level(logging.WARNING):
        _, losses, svi = steps(make, objectives.ELBO, batches, "traced")
    assert UNRECORDABLE[make] in svi._capture.refused
    (notice,) = caplog.messages
    assert svi._capture.refused in notice
    assert all(np.isfinite(losses))


def test_a_loss_without_a_differentiable_one_says_what_to_use(caplog):
    loss = pyro.infer.RenyiELBO(num_particles=2)
    with caplog.at_level(logging.WARNING):
        steps(vae, loss, rows(3), "traced")
    assert "pyrovae.objectives.Renyi" in caplog.text


def test_numbers_that_never_stay_the_same_end_in_python(caplog, monkeypatch):
    monkeypatch.setattr(capture, "MOST_RECORDINGS", 3)

    def make():
        decoder, guide = nn.Linear(2, D), encoder(2)

        def model(x, scale):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(decoder(z), scale).to_event(1), obs=x)

        return model, lambda x, scale: guide(x)

    batches = [((X[index], 1.0 + n), {}) for n, index in enumerate(INDICES[:6])]
    with caplog.at_level(logging.WARNING):
        _, _, svi = steps(make, objectives.ELBO, batches, "traced")
    assert "pass numbers that change as tensors" in svi._capture.refused


def test_one_objective_serves_two_fits():
    loss, fits = objectives.ELBO(), []
    for _ in range(2):
        model, guide = vae()
        adam = ADAM([*model.parameters(), *guide.parameters()])
        fits.append(SVI(model, guide, adam, loss, level="traced"))
    for (x,), where in rows(5):
        for svi in fits:
            svi.step(x, **where)
    assert [svi._capture.refused for svi in fits] == [None, None]
    assert [svi._capture.made for svi in fits] == [1, 1]


def test_new_parameters_in_the_middle_are_trained():
    def make():
        model, inner = vae()

        def guide(x, extended=False):
            if extended:
                pyro.param("late", torch.tensor(0.5))
            z = inner(x)
            if extended:
                pyro.factor("pull", -(pyro.param("late") ** 2) * 10, has_rsample=False)
            return z

        return lambda x, extended=False: model(x), guide

    ends = []
    for level in ("eager", "traced"):
        batches = [((X[i],), {"extended": n > 5}) for n, i in enumerate(INDICES[:12])]
        steps(make, Trace_ELBO(), batches, level)
        ends.append(pyro.param("late").item())
    assert ends[0] == ends[1] != 0.5


def test_the_same_tensor_twice_is_two_arguments():
    def make():
        decoder, guide = nn.Linear(2, D), encoder(2)

        def model(x, y):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x - y)

        return model, lambda x, y: guide(x)

    same = [((X[i], X[i]), {}) for i in INDICES[:1]] * 3
    other = [((X[i], X[j]), {}) for i, j in zip(INDICES[:5], INDICES[5:])]
    assert_same(make, objectives.ELBO, same + other, recordings=1)


def test_a_play_of_a_recording_leaves_the_random_numbers_where_the_program_would():
    states = []
    for level in ("eager", "traced"):
        steps(vae, objectives.ELBO, rows(15), level)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_the_state_of_python_is_checked_in_less_time_than_a_step_takes():
    model, guide = vae()
    state = PythonState([model, guide, objectives.ELBO()])
    assert state.holds()
    assert len(state._values) < 150
    model.likelihood_name = "other"
    assert not state.holds()
