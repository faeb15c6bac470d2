"""Who takes which product in compiled code; and all come out the same."""

import os
import sys

import pytest
import torch
from torch._inductor import config

from pyrovae.step import panel_products, products, products_over_rows
from pyrovae.step.lowering import lower
from pyrovae.step.panel_products import PanelProduct
from pyrovae.step.products_over_rows import ProductOverRows
from pyrovae.step.small_products import LONGEST, SmallProduct

PRECISIONS = [torch.float32, torch.bfloat16]
HAS_BFLOAT16 = panel_products.multiplies_bfloat16()


@pytest.fixture
def taken(monkeypatch):
    """What took the products of a function that is compiled, in their order."""
    names = []

    def noted(name, call):
        return lambda *sides: names.append(name) or call(*sides)

    monkeypatch.setattr(products, "by_library", noted("library", products.by_library))
    monkeypatch.setattr(SmallProduct, "of", noted("small", SmallProduct.of))
    monkeypatch.setattr(PanelProduct, "of", noted("panels", PanelProduct.of))
    monkeypatch.setattr(ProductOverRows, "of", noted("over rows", ProductOverRows.of))
    monkeypatch.setattr(products.Linear, "create", noted("oneDNN", products.Linear.create))
    with config.patch(fx_graph_cache=False):  # what lies there is not lowered again
        yield names


def compiled(function, *tensors):
    # Compiled code empties the list that it is given.
    return lower(function, tensors)([*tensors])


def same(function, *tensors):
    for found, right in zip(compiled(function, *tensors), function(*tensors), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-4)


def as_exact(function, *tensors):
    """Sums of so many numbers that the library's own are off by more than the last bits."""
    exact = function(*(tensor.double() for tensor in tensors))
    for found, right, true in zip(
        compiled(function, *tensors), function(*tensors), exact, strict=True
    ):
        assert (found - true).norm() <= 4 * (right - true).norm() + 1e-6 * true.norm()


def loss_and_gradients(x, weight):
    product = x @ weight.mT / x.shape[1] ** 0.5
    gradient = product.cos()
    return [
        product.sin().sum(),
        gradient @ weight / len(weight) ** 0.5,
        gradient.mT @ x / len(x) ** 0.5,
    ]


def made(rows, inner, columns):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for shape in ((rows, inner), (columns, inner))]


@pytest.mark.parametrize(
    ("size", "names"),
    [
        ((256, 128, 128), ["panels", "panels", "over rows"]),
        ((255, 128, 128), ["small"] * 3),
        ((260, 70, 301), ["panels", "panels", "over rows"]),
        ((1, 2100, 2100), ["oneDNN", "oneDNN"]),
        ((6, 64, 64), ["library", "library", "small"]),
        ((LONGEST + 1, 30, 50), ["small", "small", "library"]),
        ((16, 16, 16), ["library"] * 3),
        ((600, 50, 40), ["small", "small", "over rows"]),
        ((600, 40, 40), ["small", "small", "library"]),
        ((2200, 500, 300), ["panels", "panels", "over rows"]),
    ],
)
def test_compiled_products_equal_eager_ones(size, names, taken):
    same(loss_and_gradients, *made(*size))
    assert taken == names


def test_a_library_is_faster_with_a_side_that_is_large_and_read_once(taken):
    as_exact(loss_and_gradients, *made(20, 1100, 1000))
    assert taken == ["panels", "oneDNN", "panels"]


def test_small_products_of_any_size(taken):
    sizes = [(8, 300), (9, 62), (19, 16), (64, 17), (21, 63), (12, 64), (13, 65), (10, 130)]
    x, weight = made(64, 300, 300)
    same(lambda x, weight: [x[:m] @ weight[:n].mT for m, n in sizes], x, weight)
    assert taken == ["small"] * len(sizes)


def test_small_products_of_any_strides(taken):
    x, weight = made(40, 60, 50)

    def parts(x, weight):
        return [
            x[1:, 3:43] @ weight[:, 5:45].mT,  # rows that begin in the middle
            x[::2] @ weight.mT,
            x.mT[:, :33] @ x[:33],  # twice the same numbers
            weight[:, ::2] @ x.mT[::2],
            x[:, :1].expand(40, 50) @ weight,
        ]

    same(parts, x, weight)
    assert taken == ["small"] * 5


def parts_of(function, dtype):
    """The function in one precision, where the processor has it, else in single precision."""
    dtype = dtype if HAS_BFLOAT16 else torch.float32

    def parts(*tensors):
        precise = tensors[0].dtype == torch.float64
        return function(*(t.to(dtype).double() if precise else t.to(dtype) for t in tensors))

    return parts


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_panels_of_any_size(taken, dtype):
    sizes = [(8, 64), (9, 63), (10, 50), (13, 65), (50, 33), (12, 128), (100, 97), (256, 256)]
    x, _ = made(2500, 256, 1)
    y = x.flip(0)
    wide, _ = made(700, 2100, 1)
    narrow, _ = made(2100, 30, 1)

    def function(x, y, wide, narrow):
        over_rows = [x[:, :m].mT @ y[:, -n:] for m, n in sizes]
        in_parts = [wide[:90] @ (wide.mT / 2)]
        return [*over_rows, *in_parts, *(wide[:m] @ narrow for m in (20, 33, 131, 700))]

    as_exact(parts_of(function, dtype), x, y, wide, narrow)
    over_rows = "over rows" if dtype == torch.float32 or not HAS_BFLOAT16 else "panels"
    assert taken == [over_rows] * len(sizes) + ["panels"] * 5


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_panels_of_any_strides(taken, dtype):
    x, y = made(2600, 80, 2601)

    def function(x, y):
        return [
            x[100:, ::2].mT @ y[1:2501, 1::2],  # by neither
            x[::2, 3:40].mT @ y[1:].mT.contiguous().mT[::2],  # both by columns
            x[:, :1].expand(2600, 30).mT @ y[1:],
            x[:1].expand(600, 80) @ x[:100].mT,
            x[:600, 1:79] @ x[:100, 2:].mT,  # rows that begin in the middle
            x[:600] @ y.mT.contiguous()[:, 1:102],  # rows, and columns, an odd number apart
            x.mT[:, :700] @ y.mT.contiguous()[:, :700].mT,
            x.mT @ y[1:].exp(),  # which is not written before
            x.cos().mT @ y[1:],
            (x[100:].exp() @ x[:80]).mT @ y[1:2501],  # of another product
            torch.cat([x.sin(), x[:, :1]], 1).mT @ y[1:],  # rows one longer
        ]

    as_exact(parts_of(function, dtype), x, y)
    assert set(taken) <= {"panels", "over rows"}


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("columns", [30, 64, 201, 250])
def test_what_follows_panels(taken, dtype, columns):
    x, weight = made(2200, 300, columns)
    by_rows = torch.randn(columns, generator=torch.Generator().manual_seed(1))

    def followed(x, weight, by_rows):
        first, second, third = (x @ (weight * scale).mT / 10 for scale in (1, 2, 3))
        mask = x[:, :columns] > 0
        return [
            (first + by_rows).relu(),
            first.view(20, 110, columns).sum(1),
            (second * mask).view(20, 110, columns) * x[:110, :1],
            third,
            third.view(100, 22, columns).exp().mT,
            (x @ weight.mT - by_rows).sum(0),
        ]

    as_exact(parts_of(followed, dtype), x, weight, by_rows)
    assert set(taken) == {"panels"}


def test_what_follows_products_over_rows():
    x, y = made(2000, 30, 2000)
    added = torch.randn(30, 30, generator=torch.Generator().manual_seed(1))

    def followed(x, y, added):
        product = x.mT @ y
        return [
            product,
            (product * 2 + added).relu(),
            product.mT + added,
            (x.mT @ y - added).sum(0),
        ]

    as_exact(followed, x, y, added)


def test_what_alone_needs_a_product_is_joined_to_it(monkeypatch):
    x, weight = made(2200, 300, 200)
    hidden = x[:, :200].contiguous()
    joined = []
    render = PanelProduct.render

    def noted(*args, epilogue_nodes=(), **options):
        joined.extend(epilogue_nodes or ())
        return render(*args, epilogue_nodes=epilogue_nodes, **options)

    def function(x, weight, hidden):
        # The second reads the same, which is why Inductor would rather join it to what follows the product.
        return [
            (x @ weight.mT) * (hidden > 0),
            torch.cat([hidden * weight[:, 0], hidden[:, :1]], 1),
        ]

    monkeypatch.setattr(PanelProduct, "render", noted)
    with config.patch(fx_graph_cache=False):
        as_exact(function, x, weight, hidden)
    assert len(joined) == 1


def test_no_panels_where_inductor_joins_what_follows_to_every_product(monkeypatch, taken):
    for module in (panel_products, products_over_rows):
        monkeypatch.setattr(module, "APART", False)
    as_exact(lambda x, y: [(x.mT @ y).tanh()], *(tensor / 50 for tensor in made(2048, 30, 2048)))
    assert taken == ["library"]


def test_bfloat16_is_left_to_a_library_that_multiplies_tiles_of_it(monkeypatch, taken):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    compiled(lambda x, y: [x @ y.mT], *(tensor.bfloat16() for tensor in made(256, 128, 128)))
    assert taken == ["library"]


def test_what_follows_a_small_product(taken):
    x, weight = made(40, 60, 50)

    def followed(x, weight):
        alone = (x @ weight.mT + weight[:, 0]).tanh()
        product = x @ weight.mT * 2
        shared = x @ weight.mT
        turned = (x @ weight.mT).mT.sin()
        wide = (x @ weight.mT).view(4, 10, 50).exp()
        return [alone, product.relu(), product.sum(0), shared.cos(), shared, turned, wide]

    same(followed, x, weight)


def test_what_follows_a_small_product_in_several_shapes(taken):
    x, weight = made(40, 60, 50)
    scale = torch.linspace(0.5, 1.5, 2000).view(4, 10, 50)

    def followed(x, weight, scale):
        first, second = x @ weight.mT, x @ weight.mT
        wide = [first.view(4, 10, 50) * scale, first.tanh()]
        return [*wide, second.tanh(), (second.view(8, 5, 50).relu() + 1).mT, second.mT.sin()]

    same(followed, x, weight, scale)
    assert taken == ["small"] * 2


@pytest.mark.parametrize("size", [(40, 60, 50), (400, 300, 50)])
def test_a_product_that_is_not_a_number(size):
    x, weight = made(*size)
    x[3, 4], x[5, 6] = torch.nan, torch.inf
    (found,) = compiled(lambda x, weight: [x @ weight.mT], x, weight)
    torch.testing.assert_close(found, x @ weight.mT, rtol=1e-5, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize(
    "size", [(61, 50, 40), (1500, 50, 40), (5000, 50, 40), (40, 300, 250), (8, 9000, 17)]
)
@pytest.mark.parametrize(("then", "now"), [(1, 1), (3, 1), (os.cpu_count(), 1), (1, 6)])
def test_products_by_any_number_of_threads(then, now, size):
    before, tensors = torch.get_num_threads(), made(*size)
    torch.set_num_threads(then)
    try:
        function = lower(loss_and_gradients, tensors)
        torch.set_num_threads(now)
        results = function([*tensors])
    finally:
        torch.set_num_threads(before)
    for found, right in zip(results, loss_and_gradients(*tensors), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_left_alone(dtype, taken):
    def product(x, weight):
        return [x @ weight.mT]

    (found,) = compiled(product, *(tensor.to(dtype) for tensor in made(64, 64, 64)))
    assert found.dtype == dtype
    assert taken == ["library"]


def test_a_fit_does_without_another_inductor(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyrovae.step.products", None)
    same(loss_and_gradients, *made(50, 50, 50))
    same(lambda x, weight: [torch.nn.functional.softplus(x)], *made(50, 50, 50))
