"""The lean density is the general one's, in value and gradient."""

import pyro.distributions as dist
import pytest
import torch

from pyrovae.families.diagonal_normal import DiagonalNormal, diagonal_normal


@pytest.mark.parametrize("scale", ["each", "one"])
def test_it_is_the_general_ones(scale):
    loc = torch.randn(7, 4, 5, dtype=torch.float64, requires_grad=True)
    spread = torch.rand(7, 4, 5, dtype=torch.float64).add(0.1).requires_grad_()
    spread = spread if scale == "each" else 0.3
    x = torch.randn(4, 5, dtype=torch.float64)
    lean, general = diagonal_normal(loc, spread), dist.Normal(loc, spread).to_event(1)
    torch.testing.assert_close(lean.log_prob(x), general.log_prob(x), rtol=0, atol=1e-11)
    leaves = [loc, spread] if scale == "each" else [loc]
    ours = torch.autograd.grad(lean.log_prob(x).sum(), leaves)
    theirs = torch.autograd.grad(general.log_prob(x).sum(), leaves)
    for one, other in zip(ours, theirs):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_it_stays_itself_when_expanded():
    wide = diagonal_normal(torch.zeros(3, 2), 1.0).expand((5, 3))
    assert isinstance(wide, DiagonalNormal)
    assert (wide.batch_shape, wide.event_shape) == ((5, 3), (2,))
    assert wide.log_prob(torch.zeros(3, 2)).shape == (5, 3)
    assert wide.mean.shape == (5, 3, 2)


def test_values_that_are_none_are_refused():
    with pytest.raises(ValueError, match="to be within the support"):
        diagonal_normal(torch.zeros(2), 1.0).log_prob(torch.tensor([0.0, float("nan")]))
