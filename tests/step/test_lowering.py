"""Compiled code gives what the operations give, down to the smallest numbers."""

import pytest
import torch

from pyrovae.step.lowering import lower

# Zero, two below the normal numbers, whose reciprocals overflow, the smallest normal one, and one.
SMALL = torch.tensor([0.0, 1e-45, 1e-41, 1.2e-38, 1.0])


@pytest.mark.parametrize("columns", [1, 5])
def test_quotients_are_divided(columns):
    dividends = SMALL.repeat(5, 1)
    divisors = SMALL[1:, None].expand(4, columns).clone()
    (found,) = lower(lambda x, y: [x / y], [dividends[1:], divisors])([dividends[1:], divisors])
    torch.testing.assert_close(found, dividends[1:] / divisors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("base", [0.0, 0.9, 0.999, 1.0, 2.0])
def test_powers_of_constants(base, dtype):
    exponents = torch.tensor([0.0, 1.0, 2.0, 1000.0], dtype=dtype)
    (found,) = lower(lambda x: [base**x], [exponents])([exponents])
    torch.testing.assert_close(found, base**exponents)
