"""A step that fails leaves the next ones as they would be if it had failed in Python."""

import functools
import shutil

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

from pyrovae import SVI, guides

D = 4
X = torch.randn(12, 6, D, generator=torch.Generator().manual_seed(0))
ADAM = functools.partial(torch.optim.Adam, lr=0.01)


class Model(nn.Module):
    def __init__(self, likelihood=lambda logits: dist.Normal(logits, 1.0)):
        super().__init__()
        self.layer = nn.Linear(2, D)
        self.likelihood = likelihood

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", self.likelihood(self.layer(z)).to_event(1), obs=x)


def train(level, batches, *, optim=ADAM, **options):
    torch.manual_seed(0)
    model, guide = Model(**options), guides.Amortized(D, 2, hidden=(5,))
    svi = SVI(model, guide, optim, Trace_ELBO(), level=level)
    torch.manual_seed(1)
    errors = 0
    for x in batches:
        try:
            svi.step(x)
        except (RuntimeError, ValueError):
            errors += 1
    return [p.detach() for p in (*model.parameters(), *guide.parameters())], errors, svi._capture


def test_a_batch_of_a_wrong_shape_does_not_end_the_recording():
    batches = [x[:, :3] if n == 6 else x for n, x in enumerate(X)]
    eager, failed, _ = train("eager", batches)
    traced, failed_too, capture = train("traced", batches)
    assert failed == failed_too == 1
    assert capture.refused is None
    assert all(torch.equal(one, other) for one, other in zip(eager, traced, strict=True))


def poisson(logits):
    return dist.Poisson(logits.exp())


def compiler_here():
    return bool(shutil.which("g++") or shutil.which("clang++"))


COUNTS = X.abs().round()


def with_one_bad(value, at=6):
    batches = COUNTS.clone()
    batches[at, 0, 0] = value
    return batches


@pytest.mark.parametrize("value", [-1000.0, float("nan")])
@pytest.mark.parametrize("at", [1, 2, 6, 10])
def test_a_bad_batch_raises_and_leaves_the_parameters_as_in_python(value, at):
    batches = with_one_bad(value, at)
    eager, failed, _ = train("eager", batches, likelihood=poisson)
    traced, failed_too, capture = train("traced", batches, likelihood=poisson)
    assert failed == failed_too == 1
    assert capture.refused is None
    assert all(torch.equal(one, other) for one, other in zip(eager, traced, strict=True))


@pytest.mark.parametrize("optim", [ADAM, functools.partial(torch.optim.SGD, lr=1e-4)])
@pytest.mark.parametrize("value", [-1000.0, float("nan")])
@pytest.mark.parametrize("at", [2, 6])
def test_a_bad_batch_does_not_poison_a_compiled_step(value, at, optim):
    batches = with_one_bad(value, at)
    parameters, failed, capture = train("compiled", batches, likelihood=poisson, optim=optim)
    assert failed == 1
    assert capture.refused is None
    assert capture.compiled == compiler_here()
    assert all(p.isfinite().all() for p in parameters)


def test_a_bad_batch_stops_many_steps_where_it_is():
    ends = []
    for level in ("compiled", "eager"):
        torch.manual_seed(0)
        model, guide = Model(poisson), guides.Amortized(D, 2, hidden=(5,))
        adam = ADAM([*model.parameters(), *guide.parameters()])
        svi = SVI(model, guide, adam, Trace_ELBO(), level=level)
        for x in COUNTS[:4]:
            svi.step(x)
        with pytest.raises(ValueError, match="constraint|support"):
            svi.steps(with_one_bad(-1000.0, 3)[:6])
        ends.append(adam.state[model.layer.weight]["step"].item())
    assert ends == [7.0, 7.0]


def test_a_bad_batch_among_many_steps_does_not_reach_another_optimizer():
    ends = []
    for level in ("compiled", "eager"):
        torch.manual_seed(0)
        model, guide = Model(poisson), guides.Amortized(D, 2, hidden=(5,))
        parameters = [*model.parameters(), *guide.parameters()]
        svi = SVI(model, guide, torch.optim.SGD(parameters, lr=1e-4), Trace_ELBO(), level=level)
        for x in COUNTS[:4]:
            svi.step(x)
        with pytest.raises(ValueError, match="constraint|support"):
            svi.steps(with_one_bad(-1000.0, 3)[:6])
        ends.append([p.detach() for p in parameters])
    for compiled, eager in zip(*ends, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-6)


def test_an_infinite_loss_that_nobody_minds_is_taken_as_in_python():
    def model(x):
        loc = pyro.param("loc", torch.tensor(0.5))
        pyro.factor("far", -((x - loc) ** 2).sum() + x.max().log())

    batches, ends = [*torch.rand(4, 3), torch.zeros(3), *torch.rand(4, 3)], []
    for level in ("eager", "traced"):
        pyro.clear_param_store()
        svi = SVI(model, lambda x: None, ADAM, Trace_ELBO(), level=level)
        losses = [svi.step(x) for x in batches]
        assert not np.isfinite(losses[4])
        ends.append(pyro.param("loc").item())
    assert svi._capture.made == 1
    np.testing.assert_array_equal(*ends)
