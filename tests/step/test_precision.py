"""Products in bfloat16: how far they are off, and what stays in float32."""

import functools

import pytest
import torch
from torch import nn

from pyrovae import SVI, guides, models
from pyrovae.objectives import ELBO, IWAE
from pyrovae.step import precision
from pyrovae.step.precision import ProductsInBfloat16

X = torch.rand(32, 20, generator=torch.Generator().manual_seed(0)).round()


@pytest.fixture(autouse=True)
def all_are_large(monkeypatch):
    monkeypatch.setattr(precision, "LARGE", 1)


def vae():
    torch.manual_seed(0)
    model = models.VAE(20, latent=8, hidden=(16,), likelihood="bernoulli")
    return model, guides.Amortized(20, 8, hidden=(16,))


def train(level, rounding, loss=ELBO, steps=60):
    model, guide = vae()
    adam = functools.partial(torch.optim.Adam, lr=1e-2)
    svi = SVI(model, guide, adam, loss(), level=level, precision=rounding)
    torch.manual_seed(1)
    losses = [svi.step(X) for _ in range(steps)]
    return [p.detach().clone() for p in svi.parameters()], losses


def test_recorded_steps_in_bfloat16_are_the_steps_themselves():
    eager, expected = train("eager", "bfloat16")
    traced, losses = train("traced", "bfloat16")
    assert losses == expected
    assert all(torch.equal(a, b) for a, b in zip(eager, traced, strict=True))


def test_compiled_steps_in_bfloat16_follow_them():
    _, expected = train("eager", "bfloat16", functools.partial(IWAE, num_particles=5))
    _, losses = train("compiled", "bfloat16", functools.partial(IWAE, num_particles=5))
    assert losses == pytest.approx(expected, rel=0.02)


def test_training_in_bfloat16_arrives_where_float32_does():
    _, whole = train("eager", "float32", steps=300)
    _, rounded = train("eager", "bfloat16", steps=300)
    assert rounded != whole
    difference = sum(rounded[-50:]) - sum(whole[-50:])
    assert abs(difference) / 50 / len(X) < 0.1  # nats per datapoint; the loss falls by more than 5


@pytest.mark.parametrize("make", [lambda: nn.Linear(20, 7), lambda: nn.Conv1d(1, 3, 5)])
def test_only_products_are_rounded(make):
    torch.manual_seed(0)
    layer = make()
    x = torch.randn(4, 20) if isinstance(layer, nn.Linear) else torch.randn(4, 1, 20)
    exact = layer(x)
    with ProductsInBfloat16():
        came = layer(x)
        assert torch.equal(x.exp().sum(), torch.exp(x).sum())
    assert came.dtype == torch.float32
    assert not torch.equal(came, exact)
    torch.testing.assert_close(came, exact, rtol=0.02, atol=0.02)


def products(x, weight):
    return [
        x @ weight.mT,
        torch.mm(x, weight.mT),
        torch.matmul(x, other=weight.mT),
        weight.mT.__rmatmul__(x),
        nn.functional.linear(x, weight),
        nn.functional.linear(x, weight=weight),
        torch.bmm(x[None], weight.mT[None])[0],
        (x.mT[:, :, None] * weight.mT[:, None]).sum(0),
    ]


@pytest.mark.parametrize("large", [20 * 30 * 40, 20 * 30 * 40 + 1])
def test_small_products_are_not_rounded(large, monkeypatch):
    monkeypatch.setattr(precision, "LARGE", large)
    x, weight = torch.randn(20, 30), torch.randn(40, 30)
    with ProductsInBfloat16():
        came = products(x, weight)
    exact = products(x, weight)
    rounded = [(a - b).abs().max() > 1e-3 for a, b in zip(came, exact, strict=True)]
    assert rounded == [large == 20 * 30 * 40] * 7 + [False]


def test_sizes_of_vectors(monkeypatch):
    monkeypatch.setattr(precision, "LARGE", 600)
    matrix, vector = torch.randn(20, 30), torch.randn(30)
    with ProductsInBfloat16():
        assert not torch.equal(matrix @ vector, torch.mv(matrix, vector))
        assert not torch.equal(vector @ matrix.mT, torch.mv(matrix, vector))
        assert torch.equal(vector @ vector, torch.dot(vector, vector))


def test_sizes_of_broadcast_products_and_of_lines(monkeypatch):
    monkeypatch.setattr(precision, "LARGE", 2 * 3 * 20 * 30 * 4)
    left, right, line = torch.randn(2, 1, 20, 30), torch.randn(3, 30, 4), torch.randn(30)
    linear = nn.functional.linear
    with ProductsInBfloat16():
        product, small = left @ right, linear(left, line)
    assert not torch.equal(product, left @ right)
    assert torch.equal(small, linear(left, line))


def test_products_called_in_other_ways(monkeypatch):
    monkeypatch.setattr(precision, "LARGE", 1)
    x, weight, out = torch.randn(4, 5), torch.randn(6, 5), torch.zeros(4, 6)
    with ProductsInBfloat16():
        product = nn.functional.linear(x, bias=None, weight=weight)
        torch.mm(x, weight.mT, out=out)
    torch.testing.assert_close(product, x @ weight.mT, rtol=0.05, atol=0.05)
    assert torch.equal(out, x @ weight.mT)


def test_products_in_float64_are_left_alone():
    x = torch.randn(3, 3, dtype=torch.float64)
    with ProductsInBfloat16():
        assert torch.equal(x @ x, torch.mm(x, x))
        assert (x @ x).dtype == torch.float64
