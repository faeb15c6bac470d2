"""Tables by rows: against a dense reference with lazy updates, and against an Adam for every row."""

import functools

import pytest
import torch
from torch import nn

from pyrovae import SVI
from pyrovae.guides import Amortized, PerDatapoint
from pyrovae.models import VAE
from pyrovae.objectives import ELBO
from pyrovae.step.row_tables import Memory, RowAdam, RowsTaken, Settings, row_tables, update_rows

N, D = 12, 3
SETTINGS = Settings(0.1, (0.9, 0.999), 1e-8)


def memory(rows=N):
    return Memory(
        torch.zeros(rows, D), torch.zeros(rows, D), torch.zeros(rows), torch.empty(rows).long()
    )


def dense_step(table, gradient, touched, remembered, settings=SETTINGS):
    """The same formula for all N rows, of which those that were not touched stay as they were."""
    beta1, beta2 = settings.betas
    steps = remembered.steps + 1
    average = remembered.average + (1 - beta1) * (gradient - remembered.average)
    square = beta2 * remembered.square + (1 - beta2) * gradient * gradient
    time = steps.double()[:, None]
    size = (settings.lr / (1 - beta1**time)).float()
    root = (1 - beta2**time).sqrt().float()
    moved = table - size * average / (square.sqrt() / root + settings.eps)
    keep = touched[:, None]
    table.copy_(torch.where(keep, moved, table))
    remembered.average.copy_(torch.where(keep, average, remembered.average))
    remembered.square.copy_(torch.where(keep, square, remembered.square))
    remembered.steps.copy_(torch.where(touched, steps, remembered.steps))


@pytest.mark.parametrize("repeated", [False, True])
def test_rows_are_bit_equal_to_the_dense_reference(repeated):
    table, reference = torch.zeros(N, D), torch.zeros(N, D)
    lazy, dense = memory(), memory()
    for _ in range(30):
        index = torch.randint(N, (5,)) if repeated else torch.randperm(N)[:5]
        gradient = torch.randn(5, D)
        whole = torch.zeros(N, D).index_add(0, index, gradient)
        touched = torch.zeros(N, dtype=torch.bool)
        touched[index] = True
        update_rows(table, index, gradient, lazy, SETTINGS)
        dense_step(reference, whole, touched, dense)
        assert torch.equal(table, reference)
        assert all(torch.equal(a, b) for a, b in zip(lazy[:3], dense[:3]))


def test_all_rows_at_once_are_the_rows_one_by_one():
    gradients = torch.randn(4, N, D)
    one, other = torch.zeros(N, D), torch.zeros(N, D)
    here, there = memory(), memory()
    for gradient in gradients:
        update_rows(one, None, gradient, here, SETTINGS)
        update_rows(other, torch.arange(N), gradient, there, SETTINGS)
    assert torch.equal(one, other)


def test_a_row_moves_as_an_adam_of_its_own_would_move_it():
    table = nn.Parameter(torch.zeros(N, D, dtype=torch.float64))
    rows = [nn.Parameter(torch.zeros(D, dtype=torch.float64)) for _ in range(N)]
    alone = [torch.optim.Adam([row], lr=0.1) for row in rows]
    by_rows = RowAdam(table, torch.optim.Adam([table], lr=0.1))
    for _ in range(50):
        index = torch.randperm(N)[:4]
        gradient = torch.randn(4, D, dtype=torch.float64)
        by_rows(index, gradient)
        for n, g in zip(index.tolist(), gradient):
            rows[n].grad = g
            alone[n].step()
    torch.testing.assert_close(table.detach(), torch.stack([row.detach() for row in rows]))


@pytest.mark.parametrize("numbers", [[3, 5, 3], [3, 5 - N, 3 - N]])
def test_rows_taken_have_the_gradient_of_the_table(numbers):
    table = nn.Parameter(torch.randn(N, D))
    index = torch.tensor(numbers)
    loss = (table[index] ** 3).sum()
    (whole,) = torch.autograd.grad(loss, table)
    with RowsTaken([table]) as taken:
        loss = (table[index] ** 3).sum()
    taken_index, gradient = taken.gradients(torch.autograd.grad(loss, taken.leaves()))
    assert torch.equal(torch.zeros(N, D).index_add(0, taken_index, gradient), whole)


def programs(size=N):
    torch.manual_seed(0)
    return VAE(5, latent=2, hidden=(4,)), PerDatapoint(size, 2)


def train(level, optim, steps=20, **options):
    model, guide = programs()
    svi = SVI(model, guide, optim, ELBO(), level=level, **options)
    x = torch.randn(N, 5, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    for n in range(steps):
        index = torch.arange(4 * n, 4 * n + 4) % N
        svi.step(x[index], index=index, size=N)
    return [p.detach() for p in svi.parameters()], guide, svi


@pytest.mark.parametrize("clip_norm", [None, 5.0])
def test_recorded_steps_of_a_table_are_the_steps_themselves(clip_norm):
    adam = functools.partial(torch.optim.Adam, lr=0.05)
    eager, _, _ = train("eager", adam, clip_norm=clip_norm)
    traced, guide, svi = train("traced", adam, clip_norm=clip_norm)
    assert all(torch.equal(a, b) for a, b in zip(eager, traced, strict=True))
    assert svi.optimizer.state[guide.table]["step"].tolist() == [7.0] * 8 + [6.0] * 4


def test_rows_that_are_not_in_the_batch_stay_where_they_are():
    model, guide = programs()
    svi = SVI(model, guide, functools.partial(torch.optim.Adam, lr=0.05), ELBO(), level="eager")
    x = torch.randn(N, 5)
    svi.step(x, index=torch.arange(N), size=N)
    before = guide.table.detach().clone()
    index = torch.tensor([1, 4])
    svi.step(x[index], index=index, size=N)
    moved = (guide.table != before).any(1)
    assert moved.nonzero().flatten().tolist() == [1, 4]


def test_a_table_used_whole_is_trained_by_rows_too():
    model, guide = programs()
    svi = SVI(model, guide, functools.partial(torch.optim.Adam, lr=0.05), ELBO(), level="eager")
    svi.step(torch.randn(N, 5))
    assert (guide.table != 0).all()
    assert svi.optimizer.state[guide.table]["step"].tolist() == [1.0] * N


def test_other_optimizers_train_a_table_densely():
    _, guide, _ = train("traced", functools.partial(torch.optim.SGD, lr=1e-3))
    assert (guide.table != 0).all()


def test_tables_are_found_by_their_guides_attribute():
    model, guide = programs()
    assert row_tables(model, guide) == [guide.table]
    assert row_tables(model, Amortized(5, 2)) == []


def test_the_state_of_a_table_is_saved_and_loaded_with_the_optimizer():
    adam = functools.partial(torch.optim.Adam, lr=0.05)
    expected, _, _ = train("traced", adam, steps=12)
    _, _, first = train("traced", adam, steps=6)
    saved = first.optimizer.state_dict()
    model, guide = programs()
    parameters = [*model.parameters(), *guide.parameters()]
    with torch.no_grad():
        for p, q in zip(parameters, first.parameters(), strict=True):
            p.copy_(q)
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    optimizer.load_state_dict(saved)
    svi = SVI(model, guide, optimizer, ELBO(), level="eager")
    x = torch.randn(N, 5, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    for n in range(12):
        index = torch.arange(4 * n, 4 * n + 4) % N
        if n < 6:
            ELBO().loss(model, guide, x[index], index=index, size=N)  # draws as many numbers
        else:
            svi.step(x[index], index=index, size=N)
    assert all(torch.equal(a, b) for a, b in zip(expected, parameters, strict=True))


@pytest.mark.parametrize("level", ["eager", "traced"])
def test_a_learning_rate_that_is_set_after_loading_is_the_tables_too(level):
    _, guide, svi = train(level, functools.partial(torch.optim.Adam, lr=0.05), steps=6)
    svi.optimizer.load_state_dict(svi.optimizer.state_dict())
    svi.optimizer.param_groups[0]["lr"] = 0.0
    before = guide.table.detach().clone()
    index = torch.arange(4)
    svi.step(torch.randn(4, 5), index=index, size=N)
    assert torch.equal(guide.table, before)
