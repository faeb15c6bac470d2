"""What torch records and cannot play back as it is, is played all the same, or runs in Python."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions.transforms import affine_autoregressive, planar
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroSample
from torch import nn

from pyrovae import SVI

D = 4
X = torch.randn(6, 12, D, generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, D)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.layer(z), 1.0).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x):
        loc, raw = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.net, self.last = kind(1, 5, batch_first=True), nn.Linear(5, 4)

    def forward(self, x):
        return self.last(self.net(x[..., None])[0][:, -1])


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4, sparse=True)

    def forward(self, x):
        return self.table((x[:, 0] > 0).long())


ENCODERS = {
    "LSTM": (lambda: Recurrent(nn.LSTM), None),
    "GRU": (lambda: Recurrent(nn.GRU), None),
    "sparse embedding": (Words, "a gradient is sparse"),
}


def end(make, level):
    torch.manual_seed(0)
    model, guide = Model(), Guide(make())
    sgd = functools.partial(torch.optim.SGD, lr=0.01)
    svi = SVI(model, guide, sgd, Trace_ELBO(), level=level)
    torch.manual_seed(1)
    for n in range(12):
        svi.step(X[n % len(X)])
    return [*model.parameters(), *guide.parameters()], svi._capture


@pytest.mark.parametrize("level", ["traced", "compiled"])
@pytest.mark.parametrize("name", ENCODERS)
def test_the_steps_are_those_of_the_program(name, level):
    make, refused = ENCODERS[name]
    eager, _ = end(make, "eager")
    came, capture = end(make, level)
    assert capture.refused == refused
    for one, other in zip(eager, came, strict=True):
        tolerance = 0.0 if level == "traced" else 1e-5
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_a_recording_that_fails_is_given_up(monkeypatch):
    def fails(*inputs):
        raise RuntimeError("of an operation")

    monkeypatch.setattr("pyrovae.step.recording.playback", lambda graph: fails)
    make, _ = ENCODERS["GRU"]
    eager, _ = end(make, "eager")
    came, capture = end(make, "traced")
    assert capture.refused == "played back, it fails (RuntimeError: of an operation)"
    assert all(torch.equal(one, other) for one, other in zip(eager, came, strict=True))


# Programs of static structure that were once refused.


class Bayesian(PyroModule):
    """Priors that are made, and expanded, while validation is on."""

    def __init__(self):
        super().__init__()
        self.layer = PyroModule[nn.Linear](D, 3)
        self.layer.weight = PyroSample(dist.Normal(0.0, 1.0).expand([3, D]).to_event(2))
        self.layer.bias = PyroSample(dist.Normal(0.0, 1.0).expand([3]).to_event(1))

    def forward(self, x):
        loc = self.layer(x).tanh().sum(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x[:, 0])


def correlations(x):
    """A triangle is filled by a mask, which has the same shape at every step."""
    triangle = pyro.sample("triangle", dist.LKJCholesky(D, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.MultivariateNormal(torch.zeros(D), scale_tril=triangle), obs=x)


def weight(x):
    pyro.sample("w", dist.Normal(torch.zeros(D), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(0.0, 1.0).expand([D]).to_event(1), obs=x)


def automatic(make_model):
    def make():
        model = make_model()
        return model, AutoNormal(model)

    return make


def flow(kind):
    """A bijector that is kept, and remembers its last call."""

    def make():
        transform = kind(D)

        def guide(x):
            pyro.module("transform", transform)
            base = dist.Normal(torch.zeros(D), 1.0).to_event(1)
            pyro.sample("w", dist.TransformedDistribution(base, [transform]))

        return weight, guide

    return make


def row_by_row():
    """A plate that is gone through in Python."""

    def model(x):
        w = pyro.sample("w", dist.Normal(torch.zeros(D), 1.0).to_event(1))
        for i in pyro.plate("rows", len(x)):
            b = pyro.sample(f"b{i}", dist.Normal(w, 1.0).to_event(1))
            pyro.sample(f"x{i}", dist.Normal(b, 1.0).to_event(1), obs=x[i])

    def guide(x):
        loc = pyro.param("loc", torch.zeros(D))
        pyro.sample("w", dist.Normal(loc, 0.5).to_event(1))
        for i in pyro.plate("rows", len(x)):
            shift = pyro.param(f"shift{i}", torch.zeros(D))
            pyro.sample(f"b{i}", dist.Normal(x[i] + shift, 0.5).to_event(1))

    return model, guide


STATIC = {
    "row by row": row_by_row,
    "Bayesian network": automatic(Bayesian),
    "correlations": automatic(lambda: correlations),
    "autoregressive flow": flow(affine_autoregressive),
    "planar flow": flow(planar),
}


@pytest.mark.parametrize("name", STATIC)
def test_programs_of_static_structure_are_played(name):
    ends = []
    for level in ("eager", "traced"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        model, guide = STATIC[name]()
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO(), level=level)
        for n in range(12):
            svi.step(X[n % len(X)])
        ends.append([leaf.detach().clone() for leaf in svi._function.leaves])
    assert svi._capture.refused is None
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_rows_that_are_drawn_and_gone_through_run_in_python():
    def model(x):
        w = pyro.sample("w", dist.Normal(torch.zeros(D), 1.0).to_event(1))
        for i in pyro.plate("rows", len(x), subsample_size=3):
            pyro.sample(f"x{i}", dist.Normal(w, 1.0).to_event(1), obs=x[i])

    losses = []
    for level in ("eager", "traced"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        adam = pyro.optim.Adam({"lr": 0.01})
        svi = SVI(
            model, AutoNormal(poutine.block(model, expose=["w"])), adam, Trace_ELBO(), level=level
        )
        losses.append([svi.step(X[0]) for _ in range(6)])
    assert "depends on a value" in svi._capture.refused
    assert losses[0] == losses[1]
