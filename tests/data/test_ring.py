"""The ring's density is the change of variables: by autograd, and by an integral."""

import pytest
import torch

from pyrovae.data import Ring
from pyrovae.data.ring import RingMap


def test_the_determinant_is_automatic_differentiations():
    g, z = RingMap(), torch.randn(20, 2, dtype=torch.float64)
    jacobians = torch.stack([torch.autograd.functional.jacobian(g, each) for each in z])
    expected = jacobians.det().abs().log()
    torch.testing.assert_close(g.log_abs_det_jacobian(z, g(z)), expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(g.inv(g(z)), z, atol=1e-10, rtol=0)


def test_the_density_integrates_to_one_and_is_nought_inside():
    line = torch.linspace(-1.8, 1.8, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    density = Ring.log_density(grid).exp()
    assert float(density.sum() * (line[1] - line[0]) ** 2) == pytest.approx(1.0, abs=2e-3)
    assert Ring.log_density(torch.tensor([[0.3, 0.4], [0.0, 0.0]])).tolist() == [-torch.inf] * 2


def test_draws_lie_where_the_density_says():
    """E log p over draws against the same by an integral, within 5 standard errors."""
    x = Ring(rows=20000).train.stored.double()
    log_density = Ring.log_density(x)
    z = torch.randn(200000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    g = RingMap()
    expected = normal - g.log_abs_det_jacobian(z, g(z))
    error = (log_density.var() / len(x) + expected.var() / len(z)).sqrt()
    assert abs(log_density.mean() - expected.mean()) < 5 * error


def test_the_seed_fixes_the_draws():
    assert torch.equal(Ring(rows=10).train.stored, Ring(rows=10).train.stored)
    assert not torch.equal(Ring(rows=10).train.stored, Ring(rows=10, split_seed=1).train.stored)
    with pytest.raises(ValueError, match="at least 5"):
        Ring(rows=1)
