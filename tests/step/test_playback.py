"""Graphs written as functions."""

import math
import operator

import pytest
import torch
from torch import fx

from pyrovae.step.playback import playback


def trace(function):
    return fx.symbolic_trace(function).graph


def test_it_computes_what_the_graph_computes():
    graph = fx.Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y")
    total = graph.call_function(torch.ops.aten.add.Tensor, (x, y), {"alpha": 0.1 + 0.2})
    parts = graph.call_function(torch.ops.aten.split.Tensor, (total, 2, -1))
    first = graph.call_function(operator.getitem, (parts, 0))
    joined = graph.call_function(torch.ops.aten.cat.default, ([first, first], -1))
    filled = graph.call_function(torch.ops.aten.full.default, ((2,), math.inf))
    graph.output((joined, None, filled))
    x, y = torch.randn(3, 4), torch.randn(3, 4)
    joined, nothing, filled = playback(graph)(x, y)
    expected = torch.add(x, y, alpha=0.1 + 0.2)
    assert torch.equal(joined, torch.cat([expected[:, :2]] * 2, -1))
    assert nothing is None
    assert filled.tolist() == [math.inf, math.inf]


def test_what_is_no_longer_needed_is_let_go():
    graph = fx.Graph()
    x = graph.placeholder("x")
    a = graph.call_function(torch.ops.aten.exp.default, (x,))
    b = graph.call_function(torch.ops.aten.mul.Tensor, (a, a))
    graph.output([b])
    names = playback(graph).__code__.co_varnames
    assert len(names) == 3
    (result,) = playback(graph)(torch.zeros(2))
    assert result.tolist() == [1.0, 1.0]


def test_only_calls_of_functions_are_played():
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output([graph.call_method("exp", (x,))])
    with pytest.raises(ValueError, match="calls functions alone"):
        playback(graph)
