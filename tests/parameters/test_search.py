"""Modules are found however a program reaches them."""

import collections
import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, config_enumerate
from pyro.nn import PyroModule
from torch import nn

from pyrovae import SVI
from pyrovae.parameters.search import modules_of

X = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
GLOBAL = nn.Linear(2, 2)


class Encoder(PyroModule):
    """With batch normalization: buffers that every step changes."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4))

    def forward(self, x):
        loc, log_scale = self.net(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def decoder(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample(
            "x", dist.Normal(z.sum(-1, keepdim=True), 1.0).expand([len(x), 4]).to_event(1), obs=x
        )


class Holder:
    def __init__(self, module):
        self.module = module

    def guide(self, x):
        return self.module(x)


def helped(module):
    def helper(x):
        return module(x)

    def inside(x):
        return [helper(y) for y in (x,)][0]

    return inside


def kept_in(container):
    return lambda x: next(iter(container.values() if isinstance(container, dict) else container))(x)


def decorated(module):
    @functools.wraps(module)
    def guide(*args):
        return module(*args)

    return guide


WAYS = {
    "scale": lambda m: poutine.scale(m, scale=0.5),
    "condition": lambda m: poutine.condition(m, data={"q": torch.zeros(1)}),
    "block": lambda m: poutine.block(m, hide=["q"]),
    "mask": lambda m: poutine.mask(m, mask=torch.tensor(True)),
    "two handlers": lambda m: poutine.block(poutine.scale(m, scale=0.5), hide=["q"]),
    "a messenger": lambda m: poutine.messenger.Messenger()(m),
    "enumerated": config_enumerate,
    "a helper": helped,
    "a dictionary": lambda m: kept_in({"m": m}),
    "a list": lambda m: kept_in([m]),
    "an ordered dictionary in a tuple": lambda m: kept_in((kept_in(collections.OrderedDict(m=m)),)),
    "an object's method": lambda m: Holder(m).guide,
    "an object": lambda m: kept_in([Holder(m).guide]),
    "a default": lambda m: lambda x, module=m: module(x),
    "a partial": lambda m: functools.partial(lambda module, x: module(x), m),
    "a keyword": lambda m: functools.partial(lambda x, module: module(x), module=m),
    "a decorator": decorated,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_module_is_found_and_trained_with_its_buffers(way):
    ends = []
    for level in ("eager", "traced"):
        torch.manual_seed(0)
        encoder = Encoder()
        guide = WAYS[way](encoder)
        assert encoder in modules_of(guide)
        adam = functools.partial(torch.optim.Adam, lr=0.01)
        svi = SVI(decoder, guide, adam, Trace_ELBO(), level=level)
        for _ in range(5):
            svi.step(X)
        ends.append({name: tensor.clone() for name, tensor in encoder.state_dict().items()})
        assert set(svi.parameters()) == set(encoder.parameters())
    assert svi._capture.refused is None
    assert ends[0]["net.0.num_batches_tracked"] == 5
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_module_built_before_that_nobody_can_find_keeps_its_own_parameters():
    hidden = [Encoder()]
    guide = functools.partial(next, iter(lambda: hidden[0](X), object()))
    svi = SVI(
        decoder, lambda x: guide(), pyro.optim.Adam({"lr": 0.01}), Trace_ELBO(), level="eager"
    )
    before = hidden[0].net[1].weight.detach().clone()
    svi.step(X)
    assert not torch.equal(before, hidden[0].net[1].weight)
    assert len(pyro.get_param_store()) == 0


def test_globals_are_found_in_functions_called_and_in_code_inside():
    def helper(x):
        return [GLOBAL(y) for y in x]

    assert modules_of(lambda x: helper(x)) == [GLOBAL]


def test_what_others_wrote_and_data_are_not_searched():
    layer = nn.Linear(2, 2)
    rows = list(range(100_000))
    endless = []
    endless.append(endless)

    def program(x):
        return layer(x), rows, endless, np_like, torch.nn.functional

    np_like = torch.zeros(3)
    assert modules_of(program) == [layer]


def test_the_parts_of_a_module_are_its_own():
    parent = nn.Sequential(nn.Linear(2, 2))
    parent.others = [nn.Linear(3, 3)]  # what torch does not count among its parts
    assert modules_of(lambda x: parent(x)) == [parent]
