"""What a program changes in place is changed once per step, also where the step is run twice to check it."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

from pyrovae import SVI
from pyrovae.step.recording import CannotRecordError, record

D = 4
X = torch.randn(15, 6, D, generator=torch.Generator().manual_seed(0))
ADAM = functools.partial(torch.optim.Adam, lr=0.01)


def guide_of(layer):
    def guide(x):
        loc, raw = layer(x.clone()).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))

    return guide


def model_of(decode, seen=lambda x: x):
    def model(x):
        x = seen(x)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decode(z), 1.0).to_event(1), obs=x)

    return model


class Holder:
    """A plain object: its network is not among the modules that are looked for."""

    def __init__(self):
        self.networks = [nn.Sequential(nn.Linear(2, D), nn.BatchNorm1d(D))]
        self.mean = torch.zeros(D)
        self.random = torch.Generator().manual_seed(3)
        self.count = torch.tensor(0)

    def tensors(self):
        return [*self.networks[0].state_dict().values(), self.mean, self.count]


def normalised(holder):
    return model_of(lambda z: holder.networks[0](z))


def running(holder):
    def seen(x):
        holder.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        return x - holder.mean

    return model_of(lambda z: holder.networks[0][0](z), seen)


def running_view(holder):
    def seen(x):
        holder.mean[:2].mul_(0.9).add_(x.detach().mean(0)[:2], alpha=0.1)
        return x - holder.mean

    return model_of(lambda z: holder.networks[0][0](z), seen)


def noisy(holder):
    def seen(x):
        return x + torch.randn(x.shape, generator=holder.random)

    return model_of(lambda z: holder.networks[0][0](z), seen)


def changed_argument(holder):
    return model_of(lambda z: holder.networks[0][0](z), lambda x: x.mul_(0.5).clone())


def counted(holder):
    """The number of the call decides: that is refused, after it was counted once in vain."""

    def seen(x):
        holder.count += 1
        return x if holder.count > 3 else x * 0.5

    return model_of(lambda z: holder.networks[0][0](z), seen)


PROGRAMS = (normalised, running, running_view, noisy, changed_argument, counted)


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
def test_what_is_changed_in_place_is_changed_once(make):
    ends = []
    for level in ("eager", "traced"):
        torch.manual_seed(0)
        holder, layer = Holder(), nn.Linear(D, 4)
        parameters = [*layer.parameters(), *holder.networks[0].parameters()]
        svi = SVI(make(holder), guide_of(layer), ADAM(parameters), Trace_ELBO(), level=level)
        torch.manual_seed(1)
        batches = X.clone()
        for x in batches:
            svi.step(x)
        ends.append([*parameters, *holder.tensors(), batches, holder.random.get_state()])
    assert (svi._capture.refused is None) == (make is not counted)
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def changed_mask(x):
    mask = torch.zeros(3, dtype=torch.bool)
    mask[:2] = x[:2] > 0
    return x[mask].sum()


SHAPES = {
    "nonzero": lambda x: x.sum() * len((x > 0).nonzero()),
    "unique": lambda x: x.sum() * len(torch.unique(x)),
    "mask": lambda x: x[x > 0].sum(),
    "where": lambda x: x[torch.where(x > 0)].sum(),
    "mask of a draw": lambda x: x[torch.rand(3) > 0.5].sum(),
    "mask that is changed": changed_mask,
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_that_depend_on_values_are_refused(name):
    x = torch.tensor([1.0, -2.0, 3.0])
    with pytest.raises(CannotRecordError, match="the values of a tensor determine a shape"):
        record(lambda: [SHAPES[name](x)], [x], [])


def test_rows_taken_by_their_numbers_are_recorded():
    x, index = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([2, 0])
    recording, _ = record(lambda: [x[index]], [x, index], [])
    assert recording([x, index + 0])[0].tolist() == [3.0, 1.0]


def test_a_mask_that_is_the_same_at_every_play_is_recorded():
    def above(x):
        rows = torch.arange(3)
        return x[rows < rows[:, None]].sum() + x[torch.where(rows > 1)].sum()

    x = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    recording, _ = record(lambda: [above(x[0])], [x], [])
    assert recording([x.flip(0)])[0] == above(x[1])
