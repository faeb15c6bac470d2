"""Nothing is left untrained without a word."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam

import pyrovae

X = torch.linspace(2.0, 4.0, 20)[:, None]


class Model(PyroModule):
    def __init__(self):
        super().__init__()
        self.loc = PyroParam(torch.zeros(()))

    def forward(self, x, index=None, size=None):
        normal(self.loc, x)


def normal(loc, x):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(loc, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])


def function(x, index=None, size=None):
    normal(pyro.param("loc", torch.zeros(())), x)


def guide(x, index=None, size=None):
    shift = pyro.param("shift", torch.zeros(()))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(shift + 0.5 * x[:, 0], 0.7))


def fit(model, optim):
    return pyrovae.fit(model, guide, X, optim=optim, epochs=20, progress=False)


@pytest.mark.parametrize("optim", [None, functools.partial(torch.optim.Adam, lr=0.1)])
def test_a_parameter_outside_modules_is_refused_with_an_optimiser_of_torch(optim):
    with pytest.raises(
        ValueError, match=r"^pyro.param\('shift'\) is not in modules.*pyro.optim.Adam"
    ):
        fit(Model(), optim)
    with pytest.raises(ValueError, match="^what model and guide have to train is not in modules"):
        fit(function, optim)


@pytest.mark.parametrize("model", [Model(), function])
def test_an_optimiser_of_pyro_trains_it(model):
    fit(model, pyro.optim.Adam({"lr": 0.1}))
    assert pyro.param("shift").item() > 0.5
