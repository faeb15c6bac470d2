"""Options of `pyro.optim` that depend on a parameter's name, as with Pyro's own SVI."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.nn import PyroModule, PyroParam
from torch import nn

from pyrovae import SVI
from pyrovae.parameters.names import names_known, names_of

X = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


class Guide(PyroModule):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.part = PyroModule()
        self.part.loc = nn.Parameter(torch.zeros(2))
        self.part.scale = PyroParam(torch.ones(2), constraint=dist.constraints.positive)
        self.part.net = nn.Sequential(nn.Linear(2, 2, bias=False))

    def forward(self, x):
        loc = self.part.net(self.fc(x)) + self.part.loc
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, self.part.scale).to_event(1))


def model(x):
    bias = pyro.param("bias", torch.zeros(4))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True) + bias, 1.0).to_event(1), obs=x)


def trained(make, optim):
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    guide = Guide()
    svi = make(model, guide, optim, loss=Trace_ELBO())
    for _ in range(3):
        svi.step(X)
    return guide, optim


def by_name(asked):
    def options(name):
        asked.append(name)
        return {"lr": 0.0 if name.startswith("part") else 0.01}

    return options


def test_options_by_name_are_those_of_stock_svi():
    asked, expected = [], []
    stock, _ = trained(pyro.infer.SVI, pyro.optim.Adam(by_name(expected)))
    guide, _ = trained(SVI, pyro.optim.Adam(by_name(asked)))
    assert sorted(asked) == sorted(expected)
    assert "part.net.0.weight" in asked
    for one, other in zip(guide.parameters(), stock.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert guide.part.loc.tolist() == [0, 0]
    assert set(pyro.get_param_store()._param_to_name.values()) == {"bias"}


def test_options_by_module_and_name_and_for_clipping():
    asked, expected = set(), set()
    for seen, make in ((expected, pyro.infer.SVI), (asked, SVI)):

        def options(module, name, seen=seen):
            seen.add((module, name))
            return {"lr": 0.01}

        def clip(module, name, seen=seen):
            seen.add((module, name, "clip"))
            return {"clip_norm": 1.0}

        trained(make, pyro.optim.Adam(options, clip))
    assert asked == expected
    assert ("fc", "weight") in asked


def test_a_state_that_was_loaded_reaches_the_parameters():
    _, before = trained(pyro.infer.SVI, pyro.optim.Adam({"lr": 0.01}))
    optim = pyro.optim.Adam({"lr": 0.01})
    optim.set_state(before.get_state())
    guide, optim = trained(SVI, optim)
    (state,) = optim.optim_objs[guide.fc.weight].state.values()
    assert state["step"] == 6


def test_names_are_gone_after_an_error():
    guide = Guide()
    with names_known(pyro.optim.Adam({"lr": 0.01}), list(guide.parameters()), guide):
        assert pyro.get_param_store().param_name(guide.fc.weight) == "fc$$$weight"
    with (
        pytest.raises(KeyError),
        names_known(pyro.optim.Adam({"lr": 0.01}), list(guide.parameters()), guide),
    ):
        raise KeyError
    assert not pyro.get_param_store()._param_to_name


def test_modules_that_are_not_pyros_have_the_names_of_torch():
    layer = nn.Sequential(nn.Linear(2, 1))
    assert list(names_of(lambda x: layer(x)).values()) == ["0.weight", "0.bias"]
