"""Products over many rows that are left to others."""

import pytest
import torch

from pyrovae.step import long_products
from pyrovae.step.lowering import lower


def test_not_where_inductor_joins_what_follows_to_every_product(monkeypatch):
    monkeypatch.setattr(long_products, "APART", False)

    def followed(x, y):
        return [(x.mT @ y).tanh()]

    tensors = [torch.rand(2048, 9) / 2048, torch.rand(2048, 33)]
    monkeypatch.setattr(long_products.LongProduct, "of", None)
    torch.testing.assert_close(lower(followed, tensors)([*tensors]), followed(*tensors))


@pytest.mark.parametrize(("rows", "columns"), [(7, 900), (900, 7)])
def test_not_of_a_long_side(monkeypatch, rows, columns):
    """Which the library takes half of the time for, or less."""
    monkeypatch.setattr(long_products.LongProduct, "of", None)
    tensors = [torch.rand(2048, rows) / 2048, torch.rand(2048, columns)]
    (found,) = lower(lambda x, y: [x.mT @ y], tensors)([*tensors])
    torch.testing.assert_close(found, tensors[0].mT @ tensors[1])
