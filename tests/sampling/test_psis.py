"""k-hat against ArviZ's own, and against tails that are known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import genpareto

from pyrovae.sampling.psis import effective_sample_size, k_hat, smooth, threshold


def cases():
    torch.manual_seed(0)
    normal = torch.randn(1000, 40, dtype=torch.float64)
    yield "normal", 3 * normal
    yield "narrow", 0.01 * normal
    yield "wide", 60 * normal
    yield "short", normal[:30]
    yield "too short", normal[:15]
    yield "heavy", torch.distributions.StudentT(1.0).sample((2000, 10)).double()
    yield "bounded", -torch.rand(500, 20, dtype=torch.float64)
    yield "far from zero", 2 * normal - 1e4
    yield "ties", (2 * normal).round()
    yield "single precision", (2 * normal).float()
    yield "zero weights", torch.where(normal > 2, -math.inf, normal)
    yield "many columns", torch.randn(200, 600, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "log_w"), list(cases()), ids=lambda v: v if isinstance(v, str) else ""
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_it_is_arvizs_own(name, log_w):
    import arviz

    with np.errstate(all="ignore"):
        weights, k = arviz.psislw(log_w.double().mT.numpy().copy())
    mine = smooth(log_w)
    np.testing.assert_allclose(mine.k_hat.numpy(), k, rtol=0, atol=1e-10)
    # Sorted, since which of two equal weights is smoothed to which quantile is no matter.
    ranked = mine.log_weights.mT.sort(-1).values.numpy()
    np.testing.assert_allclose(ranked, np.sort(weights), rtol=0, atol=1e-9)
    # A planted mistake: the negated ratio, which is what ArviZ's leave-one-out asks for.
    if name == "heavy":
        assert np.abs(k_hat(-log_w).numpy() - k).max() > 0.1


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3, 0.5, 0.7, 0.9, 1.2])
def test_known_tails_are_recovered(shape):
    draws = genpareto.rvs(shape, size=(200_000, 8), random_state=0)
    found = k_hat(torch.as_tensor(draws).log())
    # Eight fits of 1,342 tail draws each; the prior pulls them to 0.5 by about 0.007.
    assert abs(found.mean() - shape) < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_weights_have_a_finite_answer(dtype):
    constant = torch.full((500, 3), -731.25, dtype=dtype)
    rounding = constant + 1e-4 * torch.randint(-2, 3, (500, 3)).to(dtype)
    for log_w in (constant, rounding):
        found = smooth(log_w)
        assert found.k_hat.tolist() == [0.0, 0.0, 0.0]
        assert found.log_weights.exp().sum(0).tolist() == pytest.approx([1.0, 1.0, 1.0])
        assert (effective_sample_size(log_w) > 499.9).all()


def test_effective_sample_size_is_the_formula():
    log_w = torch.randn(50, 4, dtype=torch.float64) + 800
    weights = (log_w - 800).exp()
    expected = weights.sum(0) ** 2 / weights.square().sum(0)
    torch.testing.assert_close(effective_sample_size(log_w), expected)
    one = torch.full((50, 1), -math.inf)
    one[7] = 3.0
    assert effective_sample_size(one).item() == pytest.approx(1.0)


def test_the_threshold_is_arvizs():
    for count in (10, 100, 1000, 10_000, 10**6):
        assert threshold(count) == min(1 - 1 / np.log10(count), 0.7)
    assert threshold(1) == -math.inf


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="NaN in 1 places"):
        smooth(torch.tensor([[math.nan], [0.0]]))
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        k_hat(torch.zeros(3))
