"""The exponential function and rounding to bfloat16 in compiled code, against eager ones."""

import pytest
import torch
from torch._inductor import config
from torch._inductor.graph import GraphLowering

from pyrovae.step.lowering import lower
from pyrovae.step.written_products import vector

SPECIAL = [0.0, -0.0, torch.inf, -torch.inf, torch.nan, 88.7, 88.8, -87.3, -104.1, 1e30, -1e30]


def compiled(function, x):
    (found,) = lower(lambda x: [function(x)], [x])([x])
    return found


def test_exp_is_right_to_the_last_bit():
    x = torch.cat([torch.linspace(-87.0, 88.0, 200_001), torch.linspace(-1.0, 1.0, 50_001)])
    exact = x.double().exp()
    gap = torch.nextafter(exact.float(), torch.tensor(torch.inf)).double() - exact.float().double()
    assert ((compiled(torch.exp, x).double() - exact).abs() <= 1.0 * gap).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exp_of_what_is_not_finite_or_far_away(dtype):
    x = torch.tensor(SPECIAL * 9, dtype=dtype)  # vectors, and a rest
    torch.testing.assert_close(
        compiled(torch.exp, x), x.exp(), equal_nan=True, rtol=2e-7, atol=1e-37
    )


def test_bfloat16_is_rounded_to_the_nearest_and_to_even():
    bits = torch.arange(-(2**15), 2**15).to(torch.int16)
    halves = bits.view(torch.bfloat16).float()
    halves = halves[halves.isfinite() & (halves.abs() > 1e-30)]
    between = [halves * (1 + k * 2.0**-11) for k in range(-5, 6)]
    x = torch.cat([*between, torch.tensor([0.0, torch.inf, -torch.inf])])
    assert torch.equal(compiled(lambda x: (x * 2).bfloat16(), x), (x * 2).bfloat16())


def test_what_is_not_a_number_stays_none_in_bfloat16():
    x = torch.full((100,), torch.nan)
    assert compiled(lambda x: (x * 2).bfloat16(), x).isnan().all()


def test_the_last_columns_are_taken_at_once(monkeypatch):
    written = []
    monkeypatch.setattr(GraphLowering, "save_output_code", staticmethod(written.append))
    x = torch.randn(1000, 24, generator=torch.Generator().manual_seed(0))
    with config.patch(fx_graph_cache=False):
        slope = compiled(lambda x: torch.where(x[:, :24] > 0, x.flip(0), 0.0), x)
    assert torch.equal(slope, torch.where(x > 0, x.flip(0), 0.0))
    assert written
    if vector() == 16:
        assert not any("_tail" in text for text in written)
