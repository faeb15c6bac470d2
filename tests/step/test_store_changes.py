"""Pyro's store may be cleared, filled and changed between two steps, and the step goes on as in Python."""

import copy
import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO

from pyrovae import SVI

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))


def model(x):
    loc = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


def guide(x):
    loc = pyro.param("loc", torch.tensor(0.5))
    scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
    pyro.sample("mean", dist.Normal(loc, scale))


def same_again(store):
    state = copy.deepcopy(store.get_state())
    store.clear()
    store.set_state(state)


CHANGES = {
    "cleared": lambda store: store.clear(),
    "loaded": same_again,
    "frozen": lambda store: store._params["loc"].requires_grad_(False),
    "deleted": lambda store: store.__delitem__("loc"),
    "set": lambda store: store.__setitem__("loc", torch.tensor(2.0)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "optim",
    [lambda: pyro.optim.Adam({"lr": 0.01}), lambda: functools.partial(torch.optim.Adam, lr=0.01)],
    ids=["pyro", "torch"],
)
def test_the_store_changes_in_the_middle(change, optim):
    ends = []
    for level in ("eager", "traced"):
        pyro.clear_param_store()
        svi = SVI(model, guide, optim(), Trace_ELBO(), level=level)
        torch.manual_seed(1)
        for n, x in enumerate(X):
            if n == 5:
                CHANGES[change](pyro.get_param_store())
            svi.step(x)
        ends.append([pyro.param(name).detach().clone() for name in ("loc", "scale")])
    assert svi._capture.refused is None
    assert svi._capture.made > 0
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))
