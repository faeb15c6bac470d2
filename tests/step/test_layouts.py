"""Parameters, gradients and Adam's memory may lie in memory in other orders than each other."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.nn import PyroModule
from torch import nn

from pyrovae import SVI

B = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
GRADIENTS = {
    "expanded": lambda w: w.sum(),
    "of a sum": lambda w: (w.sum(0) ** 2).sum(),
    "transposed": lambda w: (w.T * B).sum(),
    "permuted": lambda w: torch.einsum("ij,jk->k", w, B).pow(2).sum(),
}
PARAMETERS = {
    "by rows": lambda w: w,
    "by columns": lambda w: w.T.contiguous().T,
    "with gaps": lambda w: torch.cat([w, w], 1)[:, :4],
}


class Model(PyroModule):
    def __init__(self, make, term):
        super().__init__()
        torch.manual_seed(0)
        self.w = nn.Parameter(make(torch.randn(3, 4)))
        self.term = term

    def forward(self):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("term", -self.term(self.w) * (1 + z**2))


class Guide(PyroModule):
    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(()))

    def forward(self):
        pyro.sample("z", dist.Normal(self.loc, 1.0))


def end(model, level, change=lambda model, svi: None):
    """The parameter after some steps, with a change among them."""
    svi = SVI(
        model, Guide(), functools.partial(torch.optim.Adam, lr=0.1), Trace_ELBO(), level=level
    )
    torch.manual_seed(1)
    for n in range(10):
        if n == 5:
            change(model, svi)
        svi.step()
    return model.w.detach()


def end_of_torch(model):
    """The same by torch's own loop, with the Adam that takes parameters one by one."""
    loss = Trace_ELBO()(model, Guide())
    adam = torch.optim.Adam(loss.parameters(), lr=0.1, foreach=False, fused=False)
    torch.manual_seed(1)
    for _ in range(10):
        adam.zero_grad()
        loss().backward()
        adam.step()
    return model.w.detach()


@pytest.mark.parametrize("level", ["eager", "traced"])
@pytest.mark.parametrize("order", PARAMETERS)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_steps_are_those_of_torch(gradient, order, level):
    """Fused Adam walked through parameter and gradient as if they lay alike, and past the end of one."""

    def make():
        return Model(PARAMETERS[order], GRADIENTS[gradient])

    torch.testing.assert_close(end(make(), level), end_of_torch(make()), rtol=1e-5, atol=1e-6)


def turn_parameter(model, svi):
    model.w.data = model.w.data.T.contiguous().T


def turn_memory(model, svi):
    """As when a state comes from a file that keeps no order."""
    for name in ("exp_avg", "exp_avg_sq"):
        state = svi.optimizer.state[model.w]
        state[name] = state[name].T.contiguous().T


@pytest.mark.parametrize("level", ["eager", "traced", "compiled"])
@pytest.mark.parametrize("change", [turn_parameter, turn_memory])
def test_the_order_may_change_in_the_middle(change, level):
    def make():
        return Model(PARAMETERS["by rows"], GRADIENTS["of a sum"])

    torch.testing.assert_close(
        end(make(), level, change), end(make(), "eager"), rtol=1e-5, atol=1e-6
    )


def test_the_kernel_is_called_for_one_type_at_a_time(monkeypatch):
    """On a GPU it raises RuntimeError for several; on a CPU it takes them."""
    kinds, kernel = [], torch._fused_adam_

    def called(parameters, *rest, **settings):
        kinds.append({p.dtype for p in parameters})
        return kernel(parameters, *rest, **settings)

    def guide():
        loc = pyro.param("loc", torch.tensor(0.0, dtype=torch.float64))
        pyro.sample("z", dist.Normal(loc, 1.0))

    monkeypatch.setattr(torch, "_fused_adam_", called)
    model = Model(PARAMETERS["by rows"], GRADIENTS["transposed"])
    adam = pyro.optim.Adam({"lr": 0.1})
    svi = SVI(model, guide, adam, Trace_ELBO(), level="eager")
    before = model.w.detach().clone()
    for _ in range(3):
        svi.step()
    assert kinds
    assert all(len(kind) == 1 for kind in kinds)
    assert not torch.equal(model.w, before)
    assert pyro.param("loc").item() != 0.0
