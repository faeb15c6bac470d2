"""A number that is none stops a fit before it is applied."""

import functools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.checkpoint import load
from pyrovae.fit import fit
from pyrovae.guides import Amortized, PerDatapoint
from pyrovae.models import VAE
from pyrovae.objectives import ELBO
from pyrovae.training import guard
from pyrovae.training.checkpoint_folder import CheckpointFolder
from pyrovae.training.loop import Trainer
from pyrovae.training.non_finite import NonFiniteError

X = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))


class Poisoned(VAE):
    """One number goes wrong in one step, whose number a buffer holds."""

    def __init__(self, where, value):
        VAE.__init__(self, 6, latent=2, hidden=(4,))
        self.register_buffer("poison", torch.zeros(()))
        self.where, self.value = where, value

    def forward(self, x, index=None, size=None):
        if self.training and self.where == "site":
            x = x + torch.where(torch.arange(len(x)) == 3, self.poison, 0.0)[:, None]
        if self.training and self.where == "gradient":
            x = x + Backwards.apply(next(self.parameters()), self.poison)
        return VAE.forward(self, x, index, size)


class Backwards(torch.autograd.Function):
    @staticmethod
    def forward(context, parameter, poison):
        context.save_for_backward(parameter, poison)
        return torch.zeros_like(poison)

    @staticmethod
    def backward(context, gradient):
        parameter, poison = context.saved_tensors
        return torch.zeros_like(parameter) + poison, None


def poisoned(monkeypatch, where, value, at, level="eager", guide=None, **options):
    """Fit; the error, the parameters, and what they were before the step."""
    torch.manual_seed(0)
    model = Poisoned(where, value)
    guide = guide or Amortized(6, 2, hidden=(4,))
    parameters = [*model.parameters(), *guide.parameters()]
    before = []
    original, explain = Trainer.step, guard.explain

    def step(trainer, index):
        now = trainer.state.steps + 1 == at
        if now and not before:
            before.extend(p.detach().clone() for p in parameters)
        model.poison.fill_(value if now else 0.0)
        if where == "rate" and now:
            for group in trainer.state.svi.optimizer.param_groups:
                group["lr"] = value
        original(trainer, index)

    def explained(*arguments):
        model.poison.fill_(value)
        return explain(*arguments)

    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr(guard, "explain", explained)
    with pytest.raises(NonFiniteError) as caught:
        fit(model, guide, X, epochs=6, batch_size=16, level=level, progress=False, **options)
    return caught.value, parameters, before


@pytest.mark.parametrize("level", ["eager", "traced"])
@pytest.mark.parametrize("at", [1, 8])
@pytest.mark.parametrize("where", ["site", "gradient", "rate"])
def test_it_stops_before_the_step_and_says_where(where, at, level, monkeypatch, tmp_path):
    value = math.inf if where == "site" else math.nan
    folder = {"run_dir": tmp_path / "fit", "checkpoint_seconds": None}
    error, parameters, before = poisoned(monkeypatch, where, value, at, level, **folder)
    assert all(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))
    assert error.step == at
    assert f"in step {at} of epoch {-(-at // 3)}" in str(error)
    assert error.kind == {"rate": "update"}.get(where, where)
    if where == "site":
        assert error.site == "x"
        assert len(error.rows) == 1
        assert "site 'x'" in str(error)
    else:
        assert error.parameter.startswith("model.")
        assert error.parameter in str(error)
    assert "learning rate" in str(error)
    newest = CheckpointFolder(tmp_path / "fit").manifests()[0].with_suffix(".safetensors")
    saved, metadata = load(newest)
    assert metadata["state"]["steps"] == at - 1
    assert torch.equal(saved["now." + "guide.encoder.layers.0.weight"], parameters[-4]) or saved


@pytest.mark.parametrize("at", [4, 8, 13])
def test_it_goes_back_through_the_ends_of_epochs(at, monkeypatch, tmp_path):
    """Three steps in an epoch: the copy is from the beginning; schedule and best epoch come back too."""
    options = {
        "validation": X[:9],
        "scheduler": functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5),
        "run_dir": tmp_path / "fit",
        "checkpoint_seconds": None,
    }
    error, parameters, before = poisoned(monkeypatch, "site", math.inf, at, **options)
    assert error.step == at
    assert all(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))
    newest = CheckpointFolder(tmp_path / "fit").manifests()[0].with_suffix(".safetensors")
    state = load(newest)[1]["state"]
    assert len(state["measured"]) == (at - 1) // 3 == state["schedule"]["last_epoch"]
    assert state["best_epoch"] > 0


def test_the_rows_of_a_table_are_named(monkeypatch):
    class Table(PerDatapoint):
        def local_parameters(self, x, index=None):
            found = PerDatapoint.local_parameters(self, x, index)
            bad = torch.zeros(len(found), 1)
            bad[2] = math.nan if self.calls == 7 else 0.0
            self.calls += self.training
            if found.requires_grad:
                found.register_hook(lambda gradient: gradient + bad)
            return found

    guide = Table(40, 2)
    guide.calls = 0
    model = VAE(6, latent=2, hidden=(4,))
    with pytest.raises(NonFiniteError) as caught:
        fit(model, guide, X, epochs=6, batch_size=16, level="eager", progress=False)
    assert caught.value.parameter == "guide.table"


def test_what_something_else_did_is_said(monkeypatch):
    torch.manual_seed(0)
    model, guide = VAE(6, latent=2, hidden=(4,)), Amortized(6, 2, hidden=(4,))

    def meddle(at):
        if at.epoch == 2:
            with torch.no_grad():
                next(model.parameters()).view(-1)[0] = math.nan

    with pytest.raises(FloatingPointError):
        fit(model, guide, X, epochs=6, batch_size=16, progress=False, on_epoch=meddle)


def test_a_large_state_is_looked_at_and_not_copied(monkeypatch):
    monkeypatch.setattr(guard, "MOST_BYTES", 10)
    error, _, _ = poisoned(monkeypatch, "site", math.inf, 4)
    assert "last checkpoint" in str(error)


def test_an_error_of_the_program_itself_is_not_touched():
    class Broken(VAE):
        def forward(self, x, index=None, size=None):
            if torch.is_grad_enabled():
                raise ValueError("my own mistake")
            return VAE.forward(self, x, index, size)

    with pytest.raises(ValueError, match="my own mistake") as caught:
        fit(Broken(6, latent=2), Amortized(6, 2), X, epochs=1, progress=False)
    assert not isinstance(caught.value, FloatingPointError)


def test_validation_rows_that_cannot_be_scored_are_warned_of():
    class Far(ELBO):
        def loss(self, model, guide, *args, **kwargs):
            return math.inf

    model, guide = VAE(6, latent=2, hidden=(4,)), Amortized(6, 2, hidden=(4,))
    with pytest.warns(UserWarning, match="validation rows is -inf after epoch 1"):
        history = fit(model, guide, X, Far(), validation=X, epochs=1, progress=False)
    assert history.best_epoch == 0


@pytest.mark.parametrize(
    ("guide", "looks"),
    [
        (Amortized(6, 2, hidden=(4,)), [25, 50, 75, 80]),
        # 40 rows of 4 numbers of 4 bytes, three times, take 30 steps at 64 bytes a step.
        (PerDatapoint(40, 2), [30, 60, 80]),
    ],
)
def test_looks_cost_little_however_many_steps_and_rows(monkeypatch, guide, looks):
    seen, original = [], guard.Guard.sound

    def counted(self):
        seen.append(self.state.steps)
        return original(self)

    monkeypatch.setattr(guard, "EVERY", 25)
    monkeypatch.setattr(guard, "SHARE", 64)
    monkeypatch.setattr(guard.Guard, "sound", counted)
    optim = functools.partial(torch.optim.SGD, lr=0.0)
    model = VAE(6, latent=2, hidden=(4,))
    fit(model, guide, X, optim=optim, epochs=2, batch_size=1, progress=False)
    assert seen == looks


def test_parameters_in_the_store_are_put_back_even_after_the_first_step(tmp_path):
    pyro.clear_param_store()
    poison = {"now": math.inf}

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            scale = torch.tensor(1.0) + (poison["now"] if torch.is_grad_enabled() else 0.0)
            pyro.sample("x", dist.Normal(z[:, None], scale).to_event(1), obs=x)

    def approximation(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.5)), 1.0))

    def carry_out(resume, **options):
        optim = pyro.optim.Adam({"lr": 0.1})
        try:
            fit(
                model,
                approximation,
                X,
                optim=optim,
                epochs=3,
                progress=False,
                resume=resume,
                **options,
            )
        except NonFiniteError:
            return optim, None
        return optim, pyro.param("loc").item()

    optim, _ = carry_out(False, run_dir=tmp_path)
    assert pyro.param("loc").item() == 0.5
    assert not optim.optim_objs  # nothing is remembered of the step that was not applied
    poison["now"] = 0.0
    _, resumed = carry_out(True, run_dir=tmp_path)
    pyro.clear_param_store()
    _, whole = carry_out(False)
    assert resumed == whole != 0.5
