"""Products over many rows, where Inductor is another version."""

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
