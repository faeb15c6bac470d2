"""Functions of programs, recorded and played back."""

import shutil

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.guides import Amortized
from pyrovae.log_weights import log_weights
from pyrovae.models import VAE
from pyrovae.step.replay import Replay


def programs():
    torch.manual_seed(0)
    return VAE(6, latent=2, hidden=(5,)).double(), Amortized(6, 2, hidden=(5,)).double()


def calls(replay, xs):
    torch.manual_seed(1)
    return [replay(x)[0] for x in xs]


@pytest.mark.parametrize("level", ["eager", "traced", "compiled"])
def test_log_weights_are_those_of_the_programs(level):
    model, guide = programs()
    xs = [torch.randn(n, 6, dtype=torch.float64) for n in (8, 8, 8, 5, 5, 5, 8)]

    def weigh(x):
        with torch.no_grad():
            return [log_weights(model, guide, x, num_particles=4)]

    torch.manual_seed(1)
    expected = [weigh(x)[0] for x in xs]
    came = calls(Replay(weigh, model, guide, level=level), xs)
    for one, other in zip(expected, came, strict=True):
        torch.testing.assert_close(other, one, rtol=0 if level != "compiled" else 1e-9, atol=0)


def test_gradients_that_the_function_takes_are_recorded():
    model, _ = programs()

    def slope(z):
        free = z.detach().requires_grad_()
        total = model.decode(free).log_prob(torch.zeros(3, 6, dtype=torch.float64)).sum()
        return torch.autograd.grad(total, free)

    replay = Replay(slope, model, level="traced")
    for _ in range(4):
        z = torch.randn(3, 2, dtype=torch.float64)
        assert torch.equal(replay(z)[0], slope(z)[0])
    assert replay._capture.made == 1


def test_changed_parameters_are_seen():
    model, _ = programs()
    replay = Replay(lambda z: [model.decode(z).mean], model, level="traced")
    z = torch.randn(3, 2, dtype=torch.float64)
    for _ in range(3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.1)
            assert torch.equal(replay(z)[0], model.decode(z).mean)


def test_a_function_that_cannot_be_recorded_is_run():
    def branch(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x, 1.0))
        return [z if z.sum() > 0 else -z]

    replay = Replay(branch, level="traced")
    assert all((replay(torch.randn(4))[0].sum() >= 0) for _ in range(4))


def test_the_compiler_is_used_if_there_is_one():
    layer = torch.nn.Linear(2, 3)
    replay = Replay(lambda x: [layer(x).tanh()], layer, level="compiled")
    for _ in range(4):
        replay(torch.ones(5, 2))
    assert replay._capture.compiled == bool(shutil.which("g++") or shutil.which("clang++"))
