"""Pyro's automatic guides, which make their parameters as they run, train here as with Pyro's own SVI."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, autoguide, config_enumerate
from pyro.infer.reparam import LocScaleReparam
from pyro.nn import PyroModule

from pyrovae import SVI, fit
from pyrovae.objectives import ELBO
from pyrovae.programs import check, data_plate

X = 3 + torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Model(PyroModule):
    """Two latents that all rows share: a location, and a scale above 0."""

    features = 3

    def forward(self, x, index=None, size=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        s = pyro.sample("s", dist.LogNormal(0.0, 0.1))
        with data_plate(len(x), index, size):
            pyro.sample("x", dist.Normal(w, s).to_event(1), obs=x)


class WithCategory(Model):
    def forward(self, x, index=None, size=None):
        kind = pyro.sample("kind", dist.Categorical(torch.ones(2)))
        pyro.sample("y", dist.Normal(kind * 1.0, 1.0), obs=x[0, 0])
        super().forward(x, index, size)


def flow(dim):
    return dist.transforms.Spline(dim, count_bins=4)


def of_parts(model):
    guide = autoguide.AutoGuideList(model)
    guide.append(autoguide.AutoDiagonalNormal(poutine.block(model, expose=["w"])))
    guide.append(autoguide.AutoDelta(poutine.block(model, expose=["s"])))
    return guide


def with_a_category(model):
    guide = autoguide.AutoGuideList(model)
    guide.append(autoguide.AutoNormal(poutine.block(model, expose=["w", "s"])))
    guide.append(
        autoguide.AutoDiscreteParallel(poutine.block(config_enumerate(model), expose=["kind"]))
    )
    return guide


def structured(model):
    return autoguide.AutoStructured(
        model, conditionals={"w": "mvn", "s": "normal"}, dependencies={"s": {"w": "linear"}}
    )


GUIDES = {
    "delta": autoguide.AutoDelta,
    "normal": autoguide.AutoNormal,
    "diagonal": autoguide.AutoDiagonalNormal,
    "multivariate": autoguide.AutoMultivariateNormal,
    "low rank": autoguide.AutoLowRankMultivariateNormal,
    "iaf": functools.partial(autoguide.AutoIAFNormal, hidden_dim=[4]),
    "flow": functools.partial(autoguide.AutoNormalizingFlow, init_transform_fn=flow),
    "laplace": autoguide.AutoLaplaceApproximation,
    "structured": structured,
    "gaussian": autoguide.AutoGaussian,
    "normal messenger": autoguide.AutoNormalMessenger,
    "hierarchical messenger": autoguide.AutoHierarchicalNormalMessenger,
    "list": of_parts,
    "list with a category": with_a_category,
}


def made(name):
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    model = WithCategory() if name == "list with a category" else Model()
    return model, GUIDES[name](model)


def loss_for(name):
    if name == "list with a category":
        return TraceEnum_ELBO(max_plate_nesting=1)
    return Trace_ELBO()


def state(guide):
    return {name: tensor.clone() for name, tensor in guide.state_dict().items()}


@functools.cache
def stock(name, steps=20):
    """Parameters and losses of Pyro's own SVI."""
    model, guide = made(name)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), loss_for(name))
    losses = [svi.step(X) for _ in range(steps)]
    return state(guide), losses


def assert_same(came, expected):
    assert list(came) == list(expected)
    for name in came:
        torch.testing.assert_close(came[name], expected[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("level", ["eager", "traced"])
@pytest.mark.parametrize("name", GUIDES)
def test_it_trains_as_with_stock_svi(name, level):
    expected, losses = stock(name)
    model, guide = made(name)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), loss_for(name), level=level)
    came = [svi.step(X) for _ in range(20)]
    assert_same(state(guide), expected)
    assert came == pytest.approx(losses, rel=1e-9)
    assert len(pyro.get_param_store()) == 0
    assert all(p.is_leaf for p in guide.parameters())


@pytest.mark.parametrize("name", GUIDES)
def test_an_optimizer_of_torch_trains_all_that_the_first_step_makes(name):
    model, guide = made(name)
    adam = functools.partial(torch.optim.Adam, lr=0.05)
    svi = SVI(model, guide, adam, loss_for(name), level="eager")
    for _ in range(20):
        svi.step(X)
    assert_same(state(guide), stock(name)[0])


# A category is summed out by the loss, which a check does not do.
@pytest.mark.parametrize("name", [name for name in GUIDES if name != "list with a category"])
def test_a_check_leaves_the_guide_as_a_call_does(name):
    ends = []
    for look in (lambda model, guide: guide(X), lambda model, guide: check(model, guide, X)):
        model, guide = made(name)
        with torch.no_grad(), torch.random.fork_rng():
            look(model, guide)
        pyro.set_rng_seed(1)
        svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), loss_for(name))
        losses = [svi.step(X) for _ in range(10)]
        ends.append({**state(guide), "losses": torch.tensor(losses)})
    assert_same(*ends)


@pytest.mark.parametrize("name", ["diagonal", "laplace"])
def test_a_fit_trains_and_keeps_the_location(name):
    model, guide = made(name)
    adam = functools.partial(torch.optim.Adam, lr=0.1)
    fit(model, guide, X, epochs=80, batch_size=12, progress=False, optim=adam)
    assert list(guide.state_dict()) == list(stock(name)[0])
    near = X.sum(0) / 13  # the posterior mean where the scale is 1
    torch.testing.assert_close(guide.loc.detach()[:3], near, rtol=0.1, atol=0.1)


def test_stock_svi_trains_it_with_an_objective_of_this_package():
    model, guide = made("diagonal")
    guide(X)
    start = guide.loc.detach().clone()
    model, guide = made("diagonal")
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), ELBO())
    for _ in range(20):
        svi.step(X)
    assert list(guide.state_dict()) == ["loc", "scale_unconstrained"]
    assert ((guide.loc - start).abs() > 0.5)[:3].all()


class Asks(PyroModule):
    """A model that asks Pyro's store for a parameter, and registers a network, as it runs."""

    features = 3

    def __init__(self):
        super().__init__()
        self.parts = [torch.nn.Linear(3, 3)]  # no part of it as torch sees it

    def forward(self, x, index=None, size=None):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        network = pyro.module("network", self.parts[0])
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with data_plate(len(x), index, size):
            pyro.sample("x", dist.Normal(network(w), scale).to_event(1), obs=x)


def reparameterised():
    config = {"w": LocScaleReparam(shape_params=())}
    return poutine.reparam(Model().forward, config)


ASKING = {"module": Asks, "function": lambda: Asks().forward, "reparam": reparameterised}


@pytest.mark.parametrize("level", ["eager", "traced"])
@pytest.mark.parametrize("name", ASKING)
def test_a_model_that_asks_pyros_store_trains_with_an_automatic_guide(name, level):
    ends = []
    for kind in ("stock", level):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        model = ASKING[name]()
        guide = autoguide.AutoNormal(model)
        adam = pyro.optim.Adam({"lr": 0.05})
        if kind == "stock":
            svi = pyro.infer.SVI(model, guide, adam, Trace_ELBO())
        else:
            svi = SVI(model, guide, adam, Trace_ELBO(), level=level)
        losses = [svi.step(X) for _ in range(20)]
        store = {n: p for n, p in pyro.get_param_store().items() if not n.startswith("AutoNormal")}
        assert store
        ends.append((losses, {n: p.detach().clone() for n, p in store.items()}))
    assert ends[1][0] == pytest.approx(ends[0][0], rel=1e-9)
    assert_same(ends[1][1], ends[0][1])
