"""Compiled code gives what the operations give, down to the smallest numbers."""

import pytest
import torch
from torch._inductor import cpu_vec_isa

from pyrovae.step import softplus
from pyrovae.step.lowering import _digest, lower, without_mutation

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def cross_entropies(reduction=0):
    """As a recorded step calls it."""
    operation = torch.ops.aten.binary_cross_entropy_with_logits.default
    return lambda x, y, *weight: [operation(x, y, None, *(weight or [None]), reduction)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", [0, 1])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropies_of_bits(weighted, reduction, dtype):
    logits = torch.tensor([0.0, 1e-30, 0.5, -3.0, 20.0, -87.0, 100.0, -1e30], dtype=dtype)
    target = torch.tensor([[0.0], [1.0], [0.3]], dtype=dtype).expand(3, 8).contiguous()
    function, tensors = cross_entropies(reduction), [logits.repeat(3, 1), target]
    if weighted:
        tensors.append(torch.full((8,), 2.0, dtype=dtype))
    (found,), (right,) = lower(function, tensors)([*tensors]), function(*tensors)
    torch.testing.assert_close(found, right)


def test_the_cross_entropy_of_a_bit_takes_one_exponential():
    graph = without_mutation(cross_entropies(), [torch.zeros(3), torch.ones(3)]).graph
    names = [str(node.target) for node in graph.nodes]
    assert names.count("aten.softplus.default") == 1
    assert not {"aten.exp.default", "aten.log.default", "aten.log1p.default"} & set(names)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"beta": 2.0}, {"threshold": 1.0}, {"beta": -0.5}])
def test_softplus_and_its_gradient(options, dtype):
    def both(x):
        def total(x):
            return torch.nn.functional.softplus(x, **options).sum()

        return [torch.nn.functional.softplus(x, **options), torch.func.grad(total)(x)]

    x = torch.linspace(-30.0, 30.0, 61, dtype=dtype)
    for found, right in zip(lower(both, [x])([x]), both(x), strict=True):
        torch.testing.assert_close(found, right, rtol=3e-6, atol=1e-7)


def test_code_for_another_processor_is_not_taken_from_the_cache(monkeypatch):
    tags = {_digest(softplus)}
    bfloat16 = torch.cpu._is_avx512_bf16_supported()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: not bfloat16)
    tags.add(_digest(softplus))
    monkeypatch.setattr(cpu_vec_isa, "pick_vec_isa", cpu_vec_isa.InvalidVecISA)
    tags.add(_digest(softplus))
    assert len(tags) == 3
