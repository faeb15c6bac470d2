"""A row of the table is a datapoint's own: steps on others leave it where it is."""

import pyro
import pytest
import torch

from pyrovae.guides import PerDatapoint
from pyrovae.models import ProbabilisticPCA
from pyrovae.objectives import ELBO


def test_rows_are_found_by_their_index():
    guide = PerDatapoint(10, 2)
    with torch.no_grad():
        guide.table.copy_(torch.arange(40.0).reshape(10, 4))
    x, index = torch.zeros(3, 5), torch.tensor([7, 0, 2])
    torch.testing.assert_close(guide.local_parameters(x, index), guide.table[index])


def test_only_rows_of_the_batch_have_a_gradient():
    model, guide = ProbabilisticPCA(5, latent=2), PerDatapoint(10, 2, family="full")
    rows = torch.tensor([1, 4])
    loss = ELBO(num_particles=3).differentiable_loss(
        model, guide, torch.randn(2, 5), index=rows, size=10
    )
    loss.backward()
    others = [row for row in range(10) if row not in (1, 4)]
    assert (guide.table.grad[rows] != 0).any(1).all()
    assert (guide.table.grad[others] == 0).all()
    assert guide.row_tables == ("table",)
    assert all(len(getattr(guide, name)) == guide.size for name in guide.row_tables)


def test_plain_gradient_steps_move_only_rows_of_the_batch():
    model, guide = ProbabilisticPCA(5, latent=2), PerDatapoint(10, 2)
    before = guide.table.detach().clone()
    sgd = pyro.optim.SGD({"lr": 0.1})
    svi = pyro.infer.SVI(model, guide, sgd, pyro.infer.Trace_ELBO())
    svi.step(torch.randn(2, 5), index=torch.tensor([3, 8]), size=10)
    moved = (guide.table != before).any(1)
    assert moved.nonzero().flatten().tolist() == [3, 8]


def test_rows_without_numbers_are_refused():
    with pytest.raises(ValueError, match=r"10 rows but the batch has 3.*pyrovae\.refit"):
        PerDatapoint(10, 2)(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="size is 0"):
        PerDatapoint(0, 2)


def test_other_rows_get_a_fresh_table_of_the_same_kind():
    guide = PerDatapoint(10, 2, family="flow").double()
    fresh = guide.for_rows(4)
    assert (fresh.size, fresh.family_name, fresh.table.dtype) == (4, "flow", torch.float64)
    assert (fresh.table == 0).all()
