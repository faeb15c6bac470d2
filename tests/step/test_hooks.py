"""Hooks that anyone sets on modules and parameters work as they do under stock Pyro, at every level."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

from pyrovae import SVI, guides
from pyrovae.objectives import ELBO

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
ADAM = functools.partial(torch.optim.Adam, lr=0.01)
LEVELS = ["eager", "traced"]


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(3, 2)
        self.decoder = nn.Linear(2, 3)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.5).to_event(1))


def svi_and_modules(level):
    both = Both()
    svi = SVI(both.model, both.guide, ADAM, Trace_ELBO(), level=level)
    torch.manual_seed(1)
    return svi, both


def hooked_for_a_while(level):
    svi, _ = svi_and_modules(level)
    losses = [svi.step(X) for _ in range(5)]
    hook = nn.modules.module.register_module_forward_hook(lambda module, args, output: 2 * output)
    try:
        losses += [svi.step(X) for _ in range(3)]
    finally:
        hook.remove()
    return torch.tensor([*losses, svi.step(X)])


def test_a_hook_of_all_modules_holds_while_it_is_set():
    torch.testing.assert_close(*map(hooked_for_a_while, LEVELS))


def by_hand(halve):
    """Steps with gradients in ``.grad``, where the hook works by itself."""
    both = Both()
    optimizer = ADAM(both.parameters())
    both.decoder.weight.register_post_accumulate_grad_hook(halve)
    torch.manual_seed(1)
    for _ in range(8):
        optimizer.zero_grad()
        Trace_ELBO().differentiable_loss(both.model, both.guide, X).backward()
        optimizer.step()
    return list(both.parameters())


def clip(parameter):
    parameter.grad.clamp_(-0.1, 0.1)


def drop(parameter):
    parameter.grad = None


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("hook", [clip, drop])
def test_hooks_that_wait_for_the_gradient_change_it(level, hook):
    svi, both = svi_and_modules(level)
    both.decoder.weight.register_post_accumulate_grad_hook(hook)
    for _ in range(8):
        svi.step(X)
    torch.testing.assert_close(list(both.parameters()), by_hand(hook))
    assert all(p.grad is None for p in both.parameters())


def test_one_that_comes_late_is_noticed():
    svi, both = svi_and_modules("traced")
    for _ in range(4):
        svi.step(X)
    both.decoder.weight.register_post_accumulate_grad_hook(drop)
    before = both.decoder.weight.detach().clone()
    for _ in range(4):
        svi.step(X)
    assert torch.equal(both.decoder.weight, before)


def test_a_hook_of_a_table_sees_the_whole_gradient():
    both, guide = Both(), guides.PerDatapoint(6, 2)

    def model(x, index, size):
        return both.model(x)

    svi = SVI(model, guide, ADAM, ELBO(), level="eager")
    seen = []
    guide.table.register_hook(lambda gradient: seen.append(gradient.shape))
    svi.step(X[:2], torch.arange(2), 2)
    assert seen == [guide.table.shape]
