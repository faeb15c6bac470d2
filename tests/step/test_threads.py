"""Several threads train at once, each its own model."""

import functools
import threading
import time

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrovae import SVI
from pyrovae.objectives import ELBO
from pyrovae.step import lowering

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
ADAM = functools.partial(torch.optim.Adam, lr=0.01)


class Both(nn.Module):
    """A model and a guide that draw nothing: random numbers are those of all threads."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = nn.Linear(3, 2)
        self.decoder = nn.Linear(2, 3)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(self.encoder(x), event_dim=1))


def train(both, level, losses):
    svi = SVI(both.model, both.guide, ADAM, ELBO(), level=level)
    losses.extend(svi.step(X) for _ in range(60))


@pytest.mark.parametrize("level", ["eager", "traced"])
def test_threads_take_turns(level, caplog):
    alone, together = [[], []], [[], []]
    for seed in range(2):
        train(Both(seed), level, alone[seed])
    modules = [Both(0), Both(1)]
    threads = [
        threading.Thread(target=train, args=(both, level, losses))
        for both, losses in zip(modules, together, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    assert not pyro.settings.get("module_local_params")
    assert not caplog.messages


def test_threads_compile_one_after_the_other(monkeypatch):
    at_once, most = [], []

    def slowly(module):
        at_once.append(module)
        time.sleep(0.2)
        most.append(len(at_once))
        at_once.remove(module)
        return lambda tensors: tensors

    monkeypatch.setattr(lowering, "_inductor", slowly)
    threads = [
        threading.Thread(target=lowering.lower, args=(lambda x: [x + 1], [torch.ones(2)]))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1]
