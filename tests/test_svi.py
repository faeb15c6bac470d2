"""SVI: what it refuses, compiled steps against the programs themselves, and several steps in one call."""

import functools
import logging
import shutil

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
from torch import nn

from pyrovae import SVI, guides, models
from pyrovae.objectives import ELBO, IWAE
from pyrovae.step import lowering

D, N = 6, 40
ADAM = functools.partial(torch.optim.Adam, lr=0.01)
X = torch.rand(N, D, generator=torch.Generator().manual_seed(0)).round()
BATCHES = [torch.arange(start % N, start % N + 8) % N for start in range(0, 800, 8)]

# Without a compiler the steps are recorded ones, and still those of the programs.
COMPILED = 1 if shutil.which("g++") or shutil.which("clang++") else 0


def vae():
    model = models.VAE(D, latent=2, hidden=(5,), likelihood="bernoulli")
    return model, guides.Amortized(D, 2, hidden=(5,))


def table():
    model = models.VAE(D, latent=2, hidden=(5,), likelihood="bernoulli")
    return model, guides.PerDatapoint(N, 2)


def noisy():
    """Batch normalisation, dropout, a category drawn from computed probabilities, and a gamma."""
    encoder = nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3))
    head, decoder = nn.Linear(8, 5), nn.Linear(3, D)

    def model(x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(logits=x.new_zeros(3)))
            g = pyro.sample("g", dist.Gamma(x.new_tensor(2.0), x.new_tensor(2.0)))
            chosen = nn.functional.one_hot(y, 3).to(x.dtype)
            pixels = dist.Bernoulli(logits=decoder(chosen) * g[..., None])
            pyro.sample("x", pixels.to_event(1), obs=x)

    def guide(x):
        h = head(encoder(x))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(logits=h[:, :3]))
            pyro.sample("g", dist.Gamma(h[:, 3].exp(), h[:, 4].exp()))

    return model, guide


def train(make, loss, level, count=100, *, optim=ADAM, change=None, **options):
    pyro.clear_param_store()
    torch.manual_seed(0)
    model, guide = make()
    for program in (model, guide):
        if isinstance(program, nn.Module):
            program.double()
    for module in [cell.cell_contents for cell in getattr(guide, "__closure__", None) or ()]:
        module.double()
    for module in [cell.cell_contents for cell in getattr(model, "__closure__", None) or ()]:
        module.double()
    svi = SVI(model, guide, optim, loss(), level=level, **options)
    torch.manual_seed(1)
    losses = []
    for n, index in enumerate(BATCHES[:count]):
        if change is not None:
            change(n, svi)
        extra = {} if make is noisy else {"index": index, "size": N}
        losses.append(svi.step(X[index].double(), **extra))
    return [leaf.detach().clone() for leaf in svi._function.leaves], losses, svi


def assert_compiled_agrees(make, loss, **options):
    eager, expected, _ = train(make, loss, "eager", **options)
    compiled, losses, svi = train(make, loss, "compiled", **options)
    assert svi._capture.compiled == COMPILED
    for one, other in zip(eager, compiled, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-7)
    assert losses == pytest.approx(expected, rel=1e-5)


def interfere(n, svi):
    """A schedule, other settings, and state that is loaded anew."""
    group = svi.optimizer.param_groups[0] if n else {}
    if n in (10, 20, 30):
        group["lr"] /= 2
    elif n == 50:
        svi.optimizer.load_state_dict(svi.optimizer.state_dict())
    elif n == 70:
        group["betas"] = (0.5, 0.9)


def test_compiled_steps_are_the_steps_of_the_programs():
    assert_compiled_agrees(vae, ELBO, change=interfere)


def test_compiled_steps_of_grey_pixels():
    """Log-odds of 0 and of 100, each the case that is left out elsewhere."""

    def make():
        model = models.VAE(D, latent=2, hidden=(5,), likelihood="continuous_bernoulli")
        with torch.no_grad():
            model.decoder.output_bias.copy_(torch.tensor([-100.0, -20.0, -0.3, 0.0, 5.0, 100.0]))
        return model, guides.Amortized(D, 2, hidden=(5,))

    assert_compiled_agrees(make, ELBO)


def test_compiled_steps_of_a_table():
    assert_compiled_agrees(table, functools.partial(IWAE, num_particles=3), clip_norm=1.0)


def test_compiled_steps_with_draws_that_depend_on_the_data():
    """Their random numbers stay those of the program, and buffers change as in it."""
    optim = functools.partial(torch.optim.RMSprop, lr=0.01)
    assert_compiled_agrees(noisy, Trace_ELBO, optim=optim)


def test_many_steps_in_one_call_are_the_steps_one_by_one():
    ends = []
    for together in (False, True):
        torch.manual_seed(0)
        model, guide = (program.double() for program in vae())
        svi = SVI(model, guide, ADAM, ELBO(), level="compiled")
        torch.manual_seed(1)
        index = torch.stack(BATCHES[:20])
        batches = X[index].double()
        if together:
            losses = svi.steps(batches, index=index, size=N)
        else:
            each = zip(batches, index, strict=True)
            losses = torch.stack([svi.step_tensor(x, index=i, size=N) for x, i in each])
        ends.append([losses, *(p.detach() for p in svi.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_without_a_compiler_steps_are_recorded_and_a_line_says_so(monkeypatch, caplog):
    def missing(*_):
        raise RuntimeError("no C++ compiler was found")

    monkeypatch.setattr(lowering, "_inductor", missing)
    with caplog.at_level(logging.WARNING):
        _, _, svi = train(vae, ELBO, "compiled", 8)
    assert svi._capture.refused is None
    assert svi._capture.compiled == 0
    assert caplog.messages == [
        "Not compiling, somewhat slower: RuntimeError: no C++ compiler was found."
    ]


def test_compiled_code_that_does_something_else_is_not_used(monkeypatch, caplog):
    def wrong(module):
        forward = module.forward
        return lambda tensors: [out if out is None else out + 0.1 for out in forward(*tensors)]

    monkeypatch.setattr(lowering, "_inductor", wrong)
    expected, _, _ = train(vae, ELBO, "eager", 8)
    with caplog.at_level(logging.WARNING):
        came, _, svi = train(vae, ELBO, "compiled", 8)
    assert svi._capture.compiled == 0
    assert "its numbers differ" in caplog.text
    assert all(torch.equal(one, other) for one, other in zip(expected, came, strict=True))


def test_steps_refuses_tensors_of_different_lengths():
    model, guide = vae()
    svi = SVI(model, guide, ADAM, ELBO())
    with pytest.raises(ValueError, match="first dimension of every tensor"):
        svi.steps(torch.zeros(3, 4, D), index=torch.zeros(2, 4).long(), size=N)


def test_the_default_does_not_wait_for_a_recording_that_would_not_pay():
    model, guide = vae()
    svi = SVI(model, guide, ADAM, ELBO(), expected_steps=10)
    for index in BATCHES[:10]:
        svi.step(X[index])
    assert svi._capture.made == 0


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"loss": torch.nn.MSELoss()}, TypeError, "must be an objective"),
        ({"optim": "adam"}, TypeError, "callable that makes one"),
        ({"level": "fast"}, ValueError, "auto, eager, traced, compiled"),
        ({"clip_norm": 0.0}, ValueError, "above 0"),
    ],
)
def test_what_it_refuses(options, error, words):
    model, guide = vae()
    settings = {"optim": ADAM, "loss": ELBO()} | options
    with pytest.raises(error, match=words):
        SVI(model, guide, **settings)


def test_losses_are_those_of_pyro_before_the_step():
    torch.manual_seed(0)
    model, guide = vae()
    svi = SVI(model, guide, ADAM, ELBO())
    torch.manual_seed(3)
    expected = Trace_ELBO().loss(model, guide, X)
    torch.manual_seed(3)
    assert svi.evaluate_loss(X) == pytest.approx(expected, rel=1e-5)
    torch.manual_seed(3)
    assert svi.step(X) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("level", ["eager", "traced"])
@pytest.mark.parametrize("loss", [ELBO, TraceGraph_ELBO])
def test_what_ones_own_backward_left_is_added_as_in_pyro(level, loss):
    def penalised(kind, **options):
        pyro.clear_param_store()
        torch.manual_seed(0)
        model, guide = (part.double() for part in vae())
        svi = kind(model, guide, pyro.optim.SGD({"lr": 1e-3}), loss(), **options)
        parameters = [*model.parameters(), *guide.parameters()]
        for n, index in enumerate(BATCHES[:6]):
            if n in (0, 3, 4):
                (50.0 * sum(p.square().sum() for p in parameters)).backward()
            torch.manual_seed(n)
            svi.step(X[index].double(), index=index, size=N)
        return [p.detach() for p in parameters]

    stock, own = penalised(pyro.infer.SVI), penalised(SVI, level=level)
    for one, other in zip(stock, own, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-12)
