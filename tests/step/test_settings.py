"""What is assigned to an SVI holds from the next step on; what it cannot work with is refused at once."""

import copy
import functools
import pickle
import warnings

import pyro
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceTailAdaptive_ELBO

from pyrovae import SVI, guides, models
from pyrovae.objectives import ELBO, IWAE

D = 4
X = torch.rand(10, 8, D, generator=torch.Generator().manual_seed(0)).round()
ADAM = functools.partial(torch.optim.Adam, lr=0.01)


def pair():
    return models.VAE(D, latent=2, hidden=(5,)), guides.Amortized(D, 2, hidden=(5,))


def new(optim=ADAM, **options):
    torch.manual_seed(0)
    model, guide = pair()
    return SVI(model, guide, optim, options.pop("loss", ELBO()), **options)


def values(svi):
    return [p.detach().clone() for p in svi.parameters()]


def after(change, level, **options):
    """Three steps, a change, three more: the SVI, the values at the change, the losses after it."""
    svi = new(level=level, **options)
    for x in X[:3]:
        svi.step(x)
    change(svi)
    before = values(svi)
    torch.manual_seed(1)
    losses = [svi.step(x) for x in X[3:6]]
    return svi, before, losses


LEVELS = pytest.mark.parametrize("level", ["eager", "traced"])


@LEVELS
def test_another_loss(level):
    def change(svi):
        svi.loss = IWAE(num_particles=5)

    _, before, losses = after(change, level)
    twin = new()
    with torch.no_grad():
        for p, value in zip(twin.parameters(), before):
            p.copy_(value)
    torch.manual_seed(1)
    expected = IWAE(num_particles=5).loss(twin.model, twin.guide, X[3])
    assert losses[0] == pytest.approx(expected, rel=1e-6)


@LEVELS
def test_another_optimizer(level):
    def change(svi):
        svi.optim = functools.partial(torch.optim.SGD, lr=0.0)

    svi, before, _ = after(change, level)
    assert all(torch.equal(*both) for both in zip(values(svi), before))
    assert isinstance(svi.optimizer, torch.optim.SGD)


@LEVELS
def test_another_norm_to_clip_at(level):
    def change(svi):
        svi.clip_norm = 1e-12

    sgd = functools.partial(torch.optim.SGD, lr=1e-3)
    svi, before, _ = after(change, level, optim=sgd)
    for one, other in zip(values(svi), before):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@LEVELS
def test_another_guide(level):
    def change(svi):
        svi.guide = pair()[1]

    svi, before, _ = after(change, level)
    assert len(svi.parameters()) == len(before)
    assert not any(torch.equal(*both) for both in zip(values(svi), before))


def test_another_level_goes_on_from_where_it_stands():
    def trained(change):
        svi = new(level="traced")
        torch.manual_seed(1)
        for n, x in enumerate(X):
            if n == 5:
                change(svi)
            svi.step(x)
        return svi, values(svi)

    svi, came = trained(lambda svi: setattr(svi, "level", "eager"))
    assert svi._capture is None
    assert all(torch.equal(*both) for both in zip(came, trained(lambda svi: None)[1]))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("loss", torch.nn.MSELoss(), TypeError),
        ("loss", pyro.infer.JitTrace_ELBO(), TypeError),
        ("loss", pyro.infer.ReweightedWakeSleep(), TypeError),
        ("optim", "adam", TypeError),
        ("level", "fast", ValueError),
        ("clip_norm", -1.0, ValueError),
        ("precision", "int8", ValueError),
    ],
)
def test_what_is_refused_at_the_start_is_refused_later(name, value, error):
    svi = new()
    before = getattr(svi, name)
    with pytest.raises(error):
        setattr(svi, name, value)
    assert getattr(svi, name) is before


def test_an_optimizer_that_calls_the_loss_itself_is_refused():
    parameters = pair()[0].parameters()
    several = "LBFGS runs the programs several times in a step, .* torch.optim.Adam"
    for optim in (
        torch.optim.LBFGS(parameters),
        torch.optim.LBFGS,
        functools.partial(torch.optim.LBFGS, lr=0.1),
        pyro.optim.PyroOptim(torch.optim.LBFGS, {}),
    ):
        with pytest.raises(TypeError, match=several):
            new(optim)
    svi = new(lambda parameters: torch.optim.LBFGS(parameters))
    with pytest.raises(TypeError, match=several):
        svi.step(X[0])


def test_a_factory_that_makes_no_optimizer_is_refused():
    with pytest.raises(TypeError, match="optim made a list: it must make a torch.optim.Optimizer"):
        new(list).step(X[0])


def test_parameters_that_the_optimizer_was_not_given_are_named_once():
    model, guide = pair()
    svi = SVI(model, guide, torch.optim.Adam(guide.parameters()), ELBO())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for x in X:
            svi.step(x)
    assert len(seen) == 1
    assert "not trained, since optim was not given them" in str(seen[0].message)
    assert seen[0].filename == __file__
    first = next(name for name, _ in model.named_parameters())
    assert first in str(seen[0].message)


def test_parameters_that_are_frozen_need_no_optimizer():
    model, guide = pair()
    model.requires_grad_(False)
    svi = SVI(model, guide, torch.optim.Adam(guide.parameters()), ELBO())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svi.step(X[0])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda svi: pickle.loads(pickle.dumps(svi))])
@pytest.mark.parametrize("optim", [ADAM, pyro.optim.Adam({"lr": 0.01})])
def test_a_copy_goes_on_as_the_original_does(copied, optim):
    svi = new(optim, level="traced")
    for x in X[:4]:
        svi.step(x)
    twin = copied(svi)
    ends = []
    for one in (svi, twin):
        torch.manual_seed(1)
        losses = [one.step(x) for x in X[4:]]
        ends.append((losses, values(one)))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-6)
    for one, other in zip(ends[0][1], ends[1][1]):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (RenyiELBO(alpha=0.5, num_particles=2), "pyrovae.objectives.Renyi in place of RenyiELBO"),
        (TraceGraph_ELBO(), "pyrovae.objectives.ELBO in place of TraceGraph_ELBO"),
        (
            TraceTailAdaptive_ELBO(num_particles=2, vectorize_particles=True),
            "TraceTailAdaptive_ELBO computes no loss that can be differentiated",
        ),
    ],
)
def test_the_line_for_a_loss_that_is_not_recorded_names_one_that_fits(loss, words):
    svi = new(loss=loss, level="traced")
    svi.step(X[0])
    assert words in svi._capture.refused
    assert new(loss=Trace_ELBO(), level="traced").step(X[0])
