"""A bias before a batch normalisation has a gradient of nothing but rounding, of which Adam makes steps."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrovae import SVI
from pyrovae.objectives import ELBO
from pyrovae.step.agreement import matches
from pyrovae.step.random_state import Before
from pyrovae.step.rounding import spread_of_rounding

X = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
ADAM = functools.partial(torch.optim.Adam, lr=1e-2)


class Normalised(nn.Module):
    """Biases before batch normalisations, in the model and the guide."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        first = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
        self.encoder = nn.Sequential(*first, nn.Linear(256, 4))
        self.decoder = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.Linear(16, 64))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x.flatten(1))

    def guide(self, x):
        with pyro.plate("data", len(x)):
            loc, scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


def losses(level, steps=100):
    both = Normalised()
    svi = SVI(both.model, both.guide, ADAM, ELBO(), level=level)
    torch.manual_seed(1)
    return torch.tensor([svi.step(X) for _ in range(steps)]), svi


def test_a_bias_before_a_batch_normalisation_compiles():
    (eager, _), (compiled, svi) = losses("eager"), losses("compiled")
    assert svi._capture.compiled == 1
    torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=0.0)


class OtherDigits:
    """A step with the last digits of all parameters changed, in place of compiled code, and a mistake."""

    finishes = True

    def __init__(self, svi, recording, mistake):
        self.svi, self.recording, self.mistake = svi, recording, mistake
        self.leaves = svi._function.leaves
        groups = svi._update.groups(self.leaves, begin=True)
        self.touched = [t for g in groups for t in (*g.averages, *g.squares, *g.steps)]

    def __call__(self, inputs):
        buffer = self.svi.model.__self__.encoder[1].running_var
        names = {id(p): n for n, p in self.svi.model.__self__.named_parameters()}
        before = Before([*self.leaves, buffer])
        with torch.no_grad():
            for leaf in self.leaves:
                leaf.mul_(1 + 1e-6)
        loss, *gradients = self.recording(inputs)
        for leaf, gradient in zip(self.leaves, gradients, strict=True):
            gradient *= self.mistake.get(names[id(leaf)], 1.0)
        self.svi._update(self.leaves, gradients)
        for tensor, number in zip(before.tensors, before.numbers, strict=True):
            if names.get(id(tensor), "buffer") in self.mistake.get("stays", ()):
                tensor.detach().copy_(number)
        return [loss]

    def holds(self):
        return True


MISTAKES = {
    "none": {},
    "gradient": {"decoder.2.weight": 1.2},
    "small gradient": {"encoder.1.bias": 1.2},
    "gradient of rounding": {"encoder.0.bias": 1e4},
    "parameter stays": {"stays": ["encoder.4.bias"]},
    "bias stays": {"stays": ["encoder.0.bias"]},
    "buffer stays": {"stays": ["buffer"]},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistakes_are_still_found(mistake, monkeypatch):
    def compiler(svi, recording, inputs):
        return OtherDigits(svi, recording, MISTAKES[mistake])

    monkeypatch.setattr(SVI, "_compile", compiler)
    _, svi = losses("compiled", 4)
    assert svi._capture.compiled == (mistake == "none")


def test_digits_decide_what_is_zero_but_for_rounding():
    parameter = torch.tensor([1.0, 2.0], requires_grad=True)
    start = Before([parameter])

    def step():
        with torch.no_grad():
            return [parameter.sum(), (parameter * 3).sum() / 9 - parameter.sum() / 3, None]

    total, nothing, none = spread_of_rounding(step, start, [parameter])
    assert 0 < total < 3e-5
    assert 0 < nothing < 1e-6
    assert none is None
    assert parameter.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("shown", "agree"), [(199, True), (180, False)])
def test_a_number_that_did_not_show_that_rounding_decides_it(shown, agree):
    """Eight tries miss a few, each of which would be a whole step of Adam."""
    before = [torch.zeros(200)]
    one = torch.full((200,), 1e-3)
    other = torch.where(torch.arange(200) < 199, one, -one)
    spread = torch.where(torch.arange(200) < shown, 2e-3, 0.0)
    assert matches([one], [other], before, [spread]) is agree
