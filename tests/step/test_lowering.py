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
