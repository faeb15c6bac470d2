"""Rows and weights of unlike types, and draws among them: every number stays what it was."""

import pytest
import torch

from pyrovae.step import row_weights
from pyrovae.step.lowering import lower

ROWS, HIDDEN, COLUMNS = 1280, 24, 80


def inputs():
    generator = torch.Generator().manual_seed(0)
    shapes = (ROWS, COLUMNS), (ROWS, 1), (COLUMNS, HIDDEN), (ROWS, HIDDEN)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def late(x, w, weight):
    """Weights that wait for a product, as those of particles do; exact but for one rounding."""
    product = x.double() @ weight.double()
    return (w + product.mean(1, keepdim=True)).to(w)


def results(rows, weight, h):
    return [rows @ weight.to(rows), rows.mT @ h.to(rows), rows.sum(0)]


def mask(x, w, weight, h):
    return results(x.tanh() * (late(x, w, weight) > 0), weight, h)


def counts(x, w, weight, h):
    return results(x.tanh() * (3 * late(x, w, weight)).long(), weight, h)


def rows_of_a_mask(x, w, weight, h):
    return results((x > 0) * late(x, w, weight), weight, h)


def double_rows(x, w, weight, h):
    return results(x.double().tanh() * late(x, w, weight), weight, h)


def double_weights(x, w, weight, h):
    return results(x.tanh() * late(x, w, weight).double(), weight, h)


def double_sum(x, w, weight, h):
    rows = x.double().tanh() * late(x, w, weight).double()
    return [*results(rows.float(), weight, h)[:2], rows.sum(0)]


def narrow_sum(x, w, weight, h):
    return results((x.tanh() * late(x, w, weight)).bfloat16(), weight, h)


def widened(x, w, weight, h):
    return results((x.tanh().bfloat16() * late(x, w, weight).bfloat16()).float(), weight, h)


@pytest.mark.parametrize(
    "function",
    [
        mask,
        counts,
        rows_of_a_mask,
        double_rows,
        double_weights,
        double_sum,
        narrow_sum,
        widened,
    ],
)
def test_types_and_precisions_stay(function):
    tensors = inputs()
    for one, other in zip(lower(function, tensors)([*tensors]), function(*tensors), strict=True):
        assert one.dtype == other.dtype
        allowed = {torch.float64: 1e-8, torch.float32: 1e-5, torch.bfloat16: 2e-2}[other.dtype]
        if function is double_sum and other.dtype == torch.float64:
            allowed = 1e-12
        if function is widened:  # eager code rounds more often
            allowed = 2e-2
        assert (one - other).norm() <= allowed * other.norm()


def test_draws_keep_their_order():
    def function(x, w, weight, h):
        earlier = torch.poisson(x.exp())  # of an input, hence drawn by the compiled code
        rows = x.tanh() * torch.poisson(x.abs())
        gradient = rows * (late(x, w, weight) + rows.sum(-1, keepdim=True) + earlier.mean())
        return [earlier.sum(0), *results(gradient, weight, h)]

    tensors = inputs()
    torch.manual_seed(1)
    expected = function(*tensors)
    compiled = lower(function, tensors)
    torch.manual_seed(1)
    for one, other in zip(compiled([*tensors]), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_inductor_knows_a_rearranged_graph_from_another(monkeypatch):
    """By its code, from which its cache on disk makes the name of what it keeps."""
    codes = []

    def code(module, *others, **options):
        codes.append(dict(module.__dict__)["_code"])
        return compiled(module, *others, **options)

    from torch._inductor import compile_fx

    compiled = compile_fx.compile_fx_inner
    monkeypatch.setattr(compile_fx, "compile_fx_inner", code)

    def function(x, w, weight, h):
        return results(x.tanh() * late(x, w, weight), weight, h)

    tensors = inputs()
    lower(function, tensors)
    monkeypatch.setattr(row_weights, "rearrange", lambda graph: None)
    lower(function, tensors)
    assert codes[0] != codes[1]
