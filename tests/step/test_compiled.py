"""Compiled steps while someone changes the optimizer: those of Adam, without another compilation."""

import copy
import functools
import shutil

import pytest
import torch

from pyrovae import SVI
from pyrovae.guides import Amortized, PerDatapoint
from pyrovae.models import VAE
from pyrovae.objectives import ELBO
from pyrovae.step import adam_inputs, compiled
from pyrovae.step.adam import adam_groups, corrections

D, N = 5, 40
X = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
BATCHES = [torch.arange(start % N, start % N + 8) % N for start in range(0, 800, 8)]


@pytest.fixture
def compilations(monkeypatch):
    """The functions that would be compiled; each is run as it is instead, and takes no time to make."""
    made = []

    def lower(function, inputs):
        made.append(function)
        kinds = [(tensor.shape, tensor.dtype) for tensor in inputs]

        def run(tensors):
            assert [(tensor.shape, tensor.dtype) for tensor in tensors] == kinds
            return function(*tensors)

        return run

    monkeypatch.setattr(compiled, "lower", lower)
    return made


def amortized():
    return VAE(D, latent=2, hidden=(4,)), Amortized(D, 2, hidden=(4,))


def table():
    return VAE(D, latent=2, hidden=(4,)), PerDatapoint(N, 2)


def adam(model, guide, **options):
    return torch.optim.Adam([*model.parameters(), *guide.parameters()], lr=0.01, **options)


def in_groups(model, guide):
    """Three groups of settings, two of them with the same learning rate."""
    first, *rest = model.parameters()
    parts = [([first], 0.0), (rest, 0.0), (list(guide.parameters()), 0.01)]
    return torch.optim.Adam([{"params": part, "lr": lr} for part, lr in parts])


def train(level, change, *, make=amortized, optim=adam, count=40, dtype=torch.float64, **options):
    """Take steps; before each, ``change`` is called with its number and the SVI."""
    torch.manual_seed(0)
    model, guide = (program.to(dtype) for program in make())
    svi = SVI(model, guide, optim(model, guide), ELBO(), level=level, **options)
    torch.manual_seed(1)
    losses = []
    for n, index in enumerate(BATCHES[:count]):
        change(n, svi)
        losses.append(svi.step(X[index].to(dtype), index=index, size=N))
    return [p.detach() for p in (*model.parameters(), *guide.parameters())], losses, svi


def assert_same(change, *, rtol=1e-9, **options):
    expected, before, _ = train("eager", change, **options)
    came, losses, svi = train("compiled", change, **options)
    assert losses == pytest.approx(before, rel=rtol)
    for one, other in zip(expected, came, strict=True):
        torch.testing.assert_close(other, one, rtol=rtol, atol=rtol)
    return svi


def regroup(n, svi):
    """As many groups of equal learning rates as before, of other parameters."""
    rates = {10: (0.0, 0.01, 0.01), 20: (0.001, 0.01, 0.001), 30: (0.001, 0.002, 0.003)}
    for group, lr in zip(svi.optimizer.param_groups, rates.get(n, ()), strict=False):
        group["lr"] = lr


def swap(n, svi):
    """Two parameters change places between groups, which keep their numbers."""
    if n == 20:
        one, other = (group["params"] for group in svi.optimizer.param_groups[:3:2])
        one[0], other[0] = other[0], one[0]


@pytest.mark.parametrize("change", [regroup, swap])
def test_learning_rates_that_come_to_be_equal_need_no_other_code(compilations, change):
    assert_same(change, optim=in_groups)
    assert len(compilations) == 1


@pytest.mark.parametrize(("first", "last"), [(0, 8), (5, 30)])
def test_every_parameter_counts_its_own_steps(compilations, first, last):
    """The model is frozen from one step to another, so that it falls behind."""

    def freeze(n, svi):
        if n in (first, last):
            for parameter in svi.model.parameters():
                parameter.requires_grad_(n == last)

    svi = assert_same(freeze)
    assert svi._capture.compiled
    assert len(compilations) == 2
    counts = {state["step"].item() for state in svi.optimizer.state.values()}
    assert counts == {40.0, 40.0 - last + first}


def clear(optimizer):
    optimizer.state.clear()


def replace(optimizer):
    for parameter, state in list(optimizer.state.items()):
        optimizer.state[parameter] = {key: torch.zeros_like(t) for key, t in state.items()}


def replace_averages(optimizer):
    for state in optimizer.state.values():
        state["exp_avg"] = torch.ones_like(state["exp_avg"])


def forget_one(optimizer):
    optimizer.state.popitem()


def reload(optimizer):
    """A loaded state comes with other groups of settings."""
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    optimizer.param_groups[0]["lr"] = 0.001


@pytest.mark.parametrize("make", [amortized, table])
@pytest.mark.parametrize("change", [clear, replace, replace_averages, forget_one, reload])
def test_another_memory_is_taken_up(compilations, change, make):
    assert_same(lambda n, svi: change(svi.optimizer) if n in (10, 11, 20) else None, make=make)
    assert len(compilations) == 1


def test_another_memory_in_another_order_is_put_in_that_of_the_parameter(compilations):
    def change(n, svi):
        if n == 20:
            state = svi.optimizer.state[svi.parameters()[0]]
            state["exp_avg"] = state["exp_avg"].t().contiguous().t()

    assert_same(change)
    assert len(compilations) == 1


def one_cycle(n, svi):
    """A learning rate and a momentum of its own for every step."""
    if n == 0:
        svi.schedule = torch.optim.lr_scheduler.OneCycleLR(svi.optimizer, 0.01, total_steps=60)
    else:
        svi.schedule.step()


def decays(n, svi):
    """A weight decay that comes, grows and goes."""
    svi.optimizer.param_groups[0]["weight_decay"] = {10: 0.1, 20: 0.2, 30: 0.0}.get(
        n, svi.optimizer.param_groups[0]["weight_decay"]
    )


def epsilon(n, svi):
    svi.optimizer.param_groups[0]["eps"] = 1e-8 * n


def same_for_all(dense, rows):
    return dense, rows, torch.zeros(())


SCHEDULED = {
    "one cycle": (one_cycle, 1, {}),
    "one cycle, a table": (one_cycle, 1, {"make": table}),
    "weight decay": (decays, 2, {}),
    "epsilon": (epsilon, 1, {}),
    "amsgrad": (one_cycle, 1, {"optim": functools.partial(adam, amsgrad=True)}),
    "not fused": (one_cycle, 1, {"optim": functools.partial(adam, foreach=True)}),
    "processes": (one_cycle, 1, {"share": same_for_all}),
}


@pytest.mark.parametrize("name", SCHEDULED)
def test_settings_that_move_at_every_step_are_not_compiled_in(compilations, name):
    change, most, options = SCHEDULED[name]
    svi = assert_same(change, **options)
    assert svi._capture.compiled == 1
    assert len(compilations) == most


def test_adamw_decays_by_its_learning_rate(compilations):
    def optim(model, guide):
        parameters = [*model.parameters(), *guide.parameters()]
        return torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.3)

    assert_same(one_cycle, optim=optim)
    assert len(compilations) == 1


def test_an_accelerator_reads_the_counts_itself(compilations, monkeypatch):
    monkeypatch.setattr(adam_inputs, "counts_on_host", lambda groups: False)

    def change(n, svi):
        regroup(n, svi)
        one_cycle(n, svi)
        if n in (12, 24):
            forget_one(svi.optimizer)

    assert_same(change, optim=in_groups)
    assert len(compilations) == 1


def test_many_steps_in_one_call_count_for_each_parameter(compilations):
    ends = []
    for together in (False, True):
        _, _, svi = train("compiled", regroup, optim=in_groups, count=12)
        svi.optimizer.state[svi.parameters()[1]]["step"].fill_(3.0)
        index = torch.stack(BATCHES[:10])
        batches = X[index].double()
        if together:
            svi.steps(batches, index=index, size=N)
        else:
            for x, i in zip(batches, index, strict=True):
                svi.step(x, index=i, size=N)
        ends.append([p.detach() for p in svi.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_a_copy_counts_in_its_own_memory():
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([parameter], fused=True)
    inputs = adam_inputs.AdamInputs(
        adam_groups([optimizer], [parameter], begin=True), parameter.device
    )
    twin = copy.deepcopy(inputs)
    for each, taken in ((inputs, 5.0), (twin, 20.0)):
        each.memory[-1].fill_(taken)
        each.prepare()
        expected = torch.tensor([corrections(1e-3, (0.9, 0.999), taken + 1)])
        assert torch.equal(each.tensors[0], expected)


def interfere(n, svi):
    """One after another, all that the code must bear."""
    regroup(n, svi)
    if n in (12, 24):
        forget_one(svi.optimizer)
    for group in svi.optimizer.param_groups:
        group["betas"] = (0.9 - 0.01 * n, 0.999)
        group["eps"] = 1e-8 * (n + 1)


def test_code_from_the_compiler_bears_all_of_it():
    svi = assert_same(interfere, optim=in_groups, dtype=torch.float32, rtol=1e-5)
    assert svi._capture.compiled == bool(shutil.which("g++") or shutil.which("clang++"))
