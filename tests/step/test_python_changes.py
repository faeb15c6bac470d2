"""What is changed in Python between two steps is noticed wherever it is kept, or refused at the start."""

import collections
import contextlib
import ctypes
import functools
import itertools
import random
import types

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn

from pyrovae import SVI
from pyrovae.step.python_state import PythonState

D = 4
X = torch.randn(12, 6, D, generator=torch.Generator().manual_seed(0))
ADAM = functools.partial(torch.optim.Adam, lr=0.01)

VARIABLE = 1.0
SETTINGS = types.ModuleType("settings")


class Settings:
    """Numbers that a class holds."""

    weight = 1.0


def helper():
    return VARIABLE


class Guide(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(D, 4)

    def forward(self, x):
        loc, raw = self.layer(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))


class Model(nn.Module):
    """A model whose prior counts as much as ``weight`` says, which every test gets from elsewhere."""

    kept = 1.0

    def __init__(self, held=None):
        super().__init__()
        self.layer = nn.Linear(2, D)
        self.held = held

    def weight(self):
        return 1.0

    def forward(self, x):
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=self.weight()):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.layer(z), 1.0).to_event(1), obs=x)


class FromClass(Model):
    def weight(self):
        return self.kept


class FromVariable(Model):
    def weight(self):
        return VARIABLE


class FromHelper(Model):
    def weight(self):
        return helper()


class FromNested(Model):
    def weight(self):
        def inner():
            return VARIABLE

        return inner()


class FromModule(Model):
    def weight(self):
        return SETTINGS.weight


class FromOtherClass(Model):
    def weight(self):
        return Settings.weight


class FromProperty(Model):
    @property
    def now(self):
        return VARIABLE

    def weight(self):
        return self.now


class FromSet(Model):
    def weight(self):
        return 0.1 if "less" in self.held else 1.0


class FromArray(Model):
    def weight(self):
        return torch.tensor(self.held[0])


class FromSlots(Model):
    def weight(self):
        return self.held.weight


class FromNumber(Model):
    def weight(self):
        return self.held.item()


class Slotted:
    __slots__ = ("weight",)

    def __init__(self):
        self.weight = 1.0


class Plain:
    """A program that is an object with a method, and neither a module nor a function."""

    def __init__(self):
        self.layer = nn.Linear(2, D)

    def __call__(self, x):
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=VARIABLE):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.layer(z), 1.0).to_event(1), obs=x)

    def parameters(self):
        return self.layer.parameters()


def set_variable(model, value=0.1):
    globals()["VARIABLE"] = value


def double(module, inputs, output):
    return output * 0.5


CHANGES = {
    "class attribute": (FromClass, lambda model: setattr(Model, "kept", 0.1)),
    "attribute of a subclass": (
        lambda: type("Sub", (FromClass,), {"__module__": __name__})(),
        lambda model: setattr(type(model), "kept", 0.1),
    ),
    "method": (Model, lambda model: setattr(Model, "weight", FromModule.weight)),
    "variable in a method": (FromVariable, set_variable),
    "variable in a helper": (FromHelper, set_variable),
    "variable in a nested function": (FromNested, set_variable),
    "variable in a property": (FromProperty, set_variable),
    "variable in __call__": (Plain, set_variable),
    "variable of a module": (FromModule, lambda model: setattr(SETTINGS, "weight", 0.1)),
    "attribute of another class": (FromOtherClass, lambda model: setattr(Settings, "weight", 0.1)),
    "tuple": (lambda: FromArray((1.0,)), lambda model: setattr(model, "held", (0.1,))),
    "set": (lambda: FromSet(set()), lambda model: model.held.add("less")),
    "array": (lambda: FromArray(np.ones(1)), lambda model: model.held.fill(0.1)),
    "deque": (lambda: FromArray(collections.deque([1.0])), lambda model: model.held.insert(0, 0.1)),
    "slot": (lambda: FromSlots(Slotted()), lambda model: setattr(model.held, "weight", 0.1)),
    "number of a tensor": (
        lambda: FromNumber(torch.tensor(1.0)),
        lambda model: model.held.fill_(0.1),
    ),
    "hook of a layer": (Model, lambda model: model.layer.register_forward_hook(double)),
    "hook of a gradient": (Model, lambda model: model.layer.weight.register_hook(torch.zeros_like)),
    "default type": (Model, lambda model: torch.set_default_dtype(torch.float64)),
}


@pytest.fixture
def settings():
    """Everything as it is at the start; called again between two trainings."""
    with pytest.MonkeyPatch.context() as patch:

        def reset():
            patch.setattr(Model, "kept", 1.0)
            patch.setattr(Model, "weight", lambda self: 1.0)
            patch.setattr(Settings, "weight", 1.0)
            patch.setattr(SETTINGS, "weight", 0.9, raising=False)
            torch.set_default_dtype(torch.float32)
            set_variable(None, 1.0)

        reset()
        yield reset
        reset()


def train(make, change, level, count=12, at=5):
    """Steps with a change before one of them; parameters and the capture."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    model, guide = make(), Guide()
    parameters = [*model.parameters(), *guide.parameters()]
    svi = SVI(model, guide, ADAM(parameters), Trace_ELBO(), level=level)
    torch.manual_seed(1)
    for n in range(count):
        if n == at:
            change(model)
        svi.step(X[n % len(X)])
    return [p.detach() for p in parameters], svi._capture


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_noticed_at_the_next_step(name, settings):
    make, change = CHANGES[name]
    eager, _ = train(make, change, "eager")
    settings()
    traced, capture = train(make, change, "traced")
    assert capture.refused is None
    assert capture.made == (1 if name == "number of a tensor" else 2)
    assert all(torch.equal(one, other) for one, other in zip(eager, traced, strict=True))


class Counts(Model):
    def weight(self):
        return 1.0 / (1 + next(self.held))


class Draws(Model):
    def weight(self):
        return self.held.random()


class Looks(Model):
    def weight(self):
        return float(self.held[0])


class Branches(Model):
    def weight(self):
        return 1.0 if self.held else 0.1


REFUSED = {
    "iterator": (lambda: Counts(itertools.count()), "'held', an iterator"),
    "draws of Python": (lambda: Draws(random.Random(0)), "'held', random numbers"),
    "draws of NumPy": (lambda: Draws(np.random.default_rng(0)), "'held', random numbers"),
    "large array": (lambda: Looks(np.ones(10**4)), "'held', a ndarray of more than"),
    "number of a tensor": (lambda: Looks(torch.ones(1)), "depends on a value in a tensor"),
    "truth of a tensor": (lambda: Branches(torch.tensor(1.0)), "takes values out of a tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_nobody_can_watch_is_refused_before_it_is_played(name, settings):
    make, why = REFUSED[name]
    eager, _ = train(make, lambda model: None, "eager")
    traced, capture = train(make, lambda model: None, "traced")
    assert why in capture.refused
    assert capture.made == 0
    assert all(torch.equal(one, other) for one, other in zip(eager, traced, strict=True))


def test_what_no_code_names_need_not_be_watched(settings):
    def make():
        model = Model()
        model.log_of_epochs = itertools.count()
        return model

    _, capture = train(make, lambda model: None, "traced")
    assert capture.refused is None


AROUND = {
    "handler": lambda: poutine.scale(scale=0.1),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("name", AROUND)
def test_steps_inside_something_else_run_in_python(name, caplog):
    ends = []
    for level in ("eager", "traced"):
        torch.manual_seed(0)
        model, guide = Model(), Guide()
        svi = SVI(model, guide, ADAM, Trace_ELBO(), level=level)
        torch.manual_seed(1)
        for n in range(12):
            with AROUND[name]() if n in (5, 6) else contextlib.nullcontext():
                svi.step(X[n])
        ends.append([*model.parameters(), *guide.parameters()])
    assert svi._capture.made == 1
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))
    assert [message.count("taken inside") for message in caplog.messages] == [1]


def test_watching_costs_little(settings):
    state = PythonState([FromHelper(), Guide(), Trace_ELBO()])
    assert state.holds()
    assert len(state._values) < 60


def test_a_tuple_of_the_same_numbers_is_no_change(settings):
    def again(model):
        model.held = (1.0, tuple(model.held[1]))

    _, capture = train(lambda: FromArray((1.0, (2.0, 3.0))), again, "traced")
    assert capture.made == 1


def test_what_nobody_sees_ends_a_compiled_step_at_the_next_check(settings):
    hidden = ctypes.c_double(1.0)

    class FromHidden(Model):
        def weight(self):
            return hidden.value

    def change(model):
        hidden.value *= 0.1

    for count, noticed in ((11, False), (12, True)):  # looked at in the steps 3, 12, 102 and so on
        hidden.value = 1.0
        _, capture = train(FromHidden, change, "compiled", count)
        assert (capture.refused is not None) == noticed
    assert "its numbers differ" in capture.refused
