"""Weights of rows pass matrix products, and every number stays what it was."""

from functools import partial

import pytest
import torch
from torch import fx

from pyrovae import SVI
from pyrovae.guides import Amortized
from pyrovae.models import VAE
from pyrovae.objectives import IWAE
from pyrovae.step import row_weights
from pyrovae.step.lowering import lower, without_mutation

aten = torch.ops.aten
DRAWS, ROWS, HIDDEN, COLUMNS = 20, 64, 24, 80


def made(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


def inputs():
    return made((DRAWS, ROWS, HIDDEN), (COLUMNS, HIDDEN), (COLUMNS,), (DRAWS, ROWS))


def weighted(h, weight, bias, w):
    """A gradient of every row, weighted once all rows are known."""
    rows = (h @ weight.mT + bias).tanh()
    w = (w + rows.sum(-1)).softmax(0)
    return rows, w.unsqueeze(-1).expand_as(rows)


def backward(h, weight, bias, w):
    rows, w = weighted(h, weight, bias, w)
    gradient = (rows * w).reshape(-1, COLUMNS)
    return [gradient @ weight, gradient.mT @ h.reshape(-1, HIDDEN), gradient.sum(0)]


def right_sides(h, weight, bias, w):
    """As of a program that multiplies from the other side."""
    rows, w = weighted(h, weight, bias, w)
    gradient = (-w * rows).reshape(-1, COLUMNS)
    return [h.reshape(-1, HIDDEN).mT @ gradient, gradient.sum(0, keepdim=True)]


def sum_first(h, weight, bias, w):
    rows, w = weighted(h, weight, bias, w)
    gradient = rows * w
    total = gradient.sum((0, 1)).exp()
    return [total, gradient.reshape(-1, COLUMNS).mT @ (h.reshape(-1, HIDDEN) * total.sum())]


def one_weight_for_all(h, weight, bias, w):
    rows = (h @ weight.mT + bias).tanh()
    gradient = (rows * rows.sum().expand_as(rows)).reshape(-1, COLUMNS)
    return [gradient @ weight]


def weights_of_another_shape(h, weight, bias, w):
    """The same for all draws, and never written out for all columns."""
    rows = (h @ weight.mT + bias).tanh()
    gradient = (rows * (w[:1].unsqueeze(-1) + rows.sum())).reshape(-1, COLUMNS)
    return [gradient @ weight, gradient.mT @ h.reshape(-1, HIDDEN), gradient.sum(0)]


def by_columns(h, weight, bias, w):
    """Rows that lie in memory column by column."""
    rows = (weight @ h.reshape(-1, HIDDEN).mT).tanh().mT
    gradient = rows * (w.reshape(-1, 1) + rows.sum()).expand_as(rows)
    return [gradient @ weight, gradient.mT @ h.reshape(-1, HIDDEN), gradient.sum(0)]


def right_side_after_a_sum(h, weight, bias, w):
    rows, w = weighted(h, weight, bias, w)
    gradient = (rows * w).reshape(-1, COLUMNS)
    total = gradient.sum(0)
    return [(h.reshape(-1, HIDDEN) * total.sum()).mT @ gradient]


def narrowed(h, weight, bias, w):
    """With products in another precision."""
    rows, w = weighted(h, weight, bias, w)
    gradient = (rows * w).to(torch.bfloat16).reshape(-1, COLUMNS)
    small = h.reshape(-1, HIDDEN).to(torch.bfloat16)
    products = [gradient @ weight.to(torch.bfloat16), gradient.mT @ small]
    return [*(product.to(w.dtype) for product in products), (rows * w).sum((0, 1))]


FORMS = [
    backward,
    right_sides,
    sum_first,
    right_side_after_a_sum,
    one_weight_for_all,
    weights_of_another_shape,
    by_columns,
]


def rearranged(function, tensors):
    """The graph before and after."""
    module = without_mutation(function, tensors)
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    row_weights.rearrange(module.graph)
    module.graph.lint()
    return fx.GraphModule({}, graph), fx.GraphModule(module, module.graph)


def weighings(module):
    """How many nodes multiply all elements of the rows."""
    nodes = [node for node in module.graph.nodes if node.target is aten.mul.Tensor]
    return sum(node.meta["val"].numel() == DRAWS * ROWS * COLUMNS for node in nodes)


@pytest.mark.parametrize("function", FORMS)
def test_weights_pass_products(function):
    before, after = rearranged(function, inputs())
    assert weighings(before) == 1
    assert weighings(after) == (function in (sum_first, right_side_after_a_sum))  # of a sum alone
    for one, other in zip(before(*inputs()), after(*inputs()), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


def test_weights_pass_products_of_another_precision():
    before, after = rearranged(narrowed, inputs())
    names = [str(node.target) for node in after.graph.nodes]
    assert names.count("aten.mm.default") == 3
    exact = [result.double() for result in backward(*inputs())]
    for one, other, right in zip(before(*inputs()), after(*inputs()), exact, strict=True):
        allowed = 2.0 * (one - right).norm() + 1e-3 * right.norm()
        assert (other - right).norm() <= allowed


@pytest.mark.parametrize("function", [*FORMS, narrowed])
def test_compiled(function):
    tensors = [tensor.float() for tensor in inputs()]
    tolerance = 3e-2 if function is narrowed else 2e-5
    for one, other in zip(lower(function, tensors)([*tensors]), function(*tensors), strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


def test_no_weight_and_no_number():
    h, weight, bias, w = inputs()
    w[3], w[:, 5] = -torch.inf, torch.nan
    _, after = rearranged(backward, [h, weight, bias, w])
    for one, other in zip(after(h, weight, bias, w), backward(h, weight, bias, w), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10, equal_nan=True)


def few_rows(h, weight, bias, w):
    return backward(h[:3], weight, bias, w[:3])


def weights_of_columns(h, weight, bias, w):
    rows = h @ weight.mT
    gradient = (rows * (bias + rows.sum()).expand_as(rows)).reshape(-1, COLUMNS)
    return [gradient @ weight, gradient.mT @ h.reshape(-1, HIDDEN)]


def used_otherwise(h, weight, bias, w):
    rows, w = weighted(h, weight, bias, w)
    gradient = (rows * w).reshape(-1, COLUMNS)
    return [gradient @ weight, gradient.exp()]


def wider(h, weight, bias, w):
    rows, w = weighted(h, weight, bias, w)
    return [(rows * w).reshape(-1, COLUMNS) @ weight.repeat(1, 4)]


def with_itself(h, weight, bias, w):
    rows, w = weighted(h, weight, bias, w)
    gradient = (rows * w).reshape(-1, COLUMNS)
    return [gradient.mT @ gradient]


def in_two_precisions(h, weight, bias, w):
    rows, w = weighted(h, weight, bias, w)
    gradient = (rows * w).reshape(-1, COLUMNS)
    return [gradient @ weight, gradient.float().mT @ h.reshape(-1, HIDDEN).float()]


def widened(h, weight, bias, w):
    rows, w = weighted(h, weight, bias, w)
    gradient = rows.bfloat16() * w[..., :1].bfloat16()
    return [gradient.to(weight).reshape(-1, COLUMNS) @ weight]


def spread(h, weight, bias, w):
    """Rows that are one number."""
    rows, w = weighted(h, weight, bias, w)
    return [(rows[0, 0, 0].exp().expand(DRAWS * ROWS, COLUMNS) * w.reshape(-1, COLUMNS)) @ weight]


def known_weights(h, weight, bias, w):
    rows = (h @ weight.mT + bias).tanh()
    gradient = (rows * w.softmax(0).unsqueeze(-1).expand_as(rows)).reshape(-1, COLUMNS)
    return [gradient @ weight, gradient.mT @ h.reshape(-1, HIDDEN)]


def no_product(h, weight, bias, w):
    rows, w = weighted(h, weight, bias, w)
    return [(rows * w).cos().sum()]


@pytest.mark.parametrize(
    "function",
    [
        few_rows,
        weights_of_columns,
        used_otherwise,
        wider,
        with_itself,
        known_weights,
        no_product,
        in_two_precisions,
        widened,
        spread,
    ],
)
def test_what_is_left_as_it_is(function):
    before, after = rearranged(function, inputs())
    assert [n.target for n in before.graph.nodes] == [n.target for n in after.graph.nodes]


@pytest.mark.parametrize("dimensions", [(0, 1), (1, 0), (-3, -2)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_sums_over_many_rows(dimensions, keepdim):
    x = inputs()[0].repeat(1, 1, 4)
    before, after = rearranged(lambda x: [x.sum(dimensions, keepdim=keepdim)], [x])
    (one,), (other,) = before(x), after(x)
    assert sum(node.target is aten.sum.dim_IntList for node in after.graph.nodes) == 2
    assert one.shape == other.shape
    torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "total",
    [
        lambda x: x.sum(0),  # not over all rows
        lambda x: x.sum((0, 1, 2)),
        lambda x: x[:13, :61].sum((0, 1)),  # 793 rows: no blocks of one size
        lambda x: x.mT.sum((0, 1)),  # columns that do not lie one beside the other
        lambda x: x.sum((0, 1), dtype=torch.float32),
        lambda x: x.bfloat16().sum((0, 1)),  # which would be rounded once more
    ],
)
def test_other_sums(total):
    x = inputs()[0].repeat(1, 1, 4)
    before, after = rearranged(lambda x: [total(x)], [x])
    assert [n.target for n in before.graph.nodes] == [n.target for n in after.graph.nodes]


def test_a_fit_of_many_particles(monkeypatch):
    taken = []
    times = row_weights._times
    monkeypatch.setattr(row_weights, "_times", lambda x, w: taken.append(x) or times(x, w))
    x = torch.rand(64, 80, generator=torch.Generator().manual_seed(0)).round()
    ends = []
    for level in ("eager", "compiled"):
        torch.manual_seed(0)
        model = VAE(80, latent=3, hidden=(24,), likelihood="bernoulli")
        adam = partial(torch.optim.Adam, lr=1e-3)
        svi = SVI(model, Amortized(80, 3, hidden=(24,)), adam, IWAE(num_particles=20), level=level)
        for _ in range(10):
            svi.step(x)
        ends.append(torch.cat([p.detach().flatten() for p in svi.parameters()]))
    assert len(taken) == 2  # a product with the rows, and one over them with their sum
    assert (ends[0] - ends[1]).norm() <= 1e-5 * ends[0].norm()
