"""Large products go to oneDNN, and come out the same."""

import pytest
import torch

from pyrovae.step.lowering import lower, without_mutation
from pyrovae.step.products import LARGE


def loss_and_gradients(x, weight):
    product = x @ weight.mT
    gradient = product.cos()
    return [product.sin().sum(), gradient @ weight, gradient.mT @ x]


def made(rows, inner, columns):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for shape in ((rows, inner), (columns, inner))]


def calls(rows, inner, columns):
    graph = without_mutation(loss_and_gradients, made(rows, inner, columns)).graph
    names = [str(node.target).split(".")[:2] for node in graph.nodes if node.op == "call_function"]
    return names.count(["mkldnn", "_linear_pointwise"]), names.count(["aten", "mm"])


def test_small_products_stay_where_they_are():
    assert LARGE == 256 * 128 * 128
    assert calls(256, 128, 128) == (3, 0)
    assert calls(255, 128, 128) == (0, 3)


@pytest.mark.parametrize("size", [(256, 128, 128), (260, 70, 301)])
def test_compiled_products_equal_eager_ones(size):
    tensors = made(*size)
    compiled = lower(loss_and_gradients, tensors)
    # Compiled code empties the list that it is given.
    for found, right in zip(compiled([*tensors]), loss_and_gradients(*tensors), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-4)


def test_double_precision_is_left_alone():
    tensors = [tensor.double() for tensor in made(256, 128, 128)]
    graph = without_mutation(loss_and_gradients, tensors).graph
    assert not any("mkldnn" in str(node.target) for node in graph.nodes)


def test_large_products_in_bfloat16_are_left_in_it():
    tensors = [tensor.bfloat16() for tensor in made(256, 128, 128)]
    graph = without_mutation(lambda x, weight: [x @ weight.mT], tensors).graph
    (product,) = [node for node in graph.nodes if str(node.target) == "aten.mm.default"]
    assert product.meta["val"].dtype == torch.bfloat16
    assert not any("mkldnn" in str(node.target) for node in graph.nodes)
