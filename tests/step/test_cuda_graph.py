"""The bookkeeping of a captured step, with a graph that runs on the CPU in place of a CUDA graph."""

import pytest
import torch

from pyrovae.step import cuda_graph
from pyrovae.step.cuda_graph import WARM_UP, InOneGraph


class OnCpu:
    """Runs the function again at every replay, into the tensors that the capture returned."""

    captured = 0

    def capture(self, function):
        OnCpu.captured += 1
        self.function = function
        self.outputs = [torch.empty(()) for _ in range(1)]
        return self.outputs

    def replay(self):
        for there, here in zip(self.outputs, self.function(), strict=True):
            there.copy_(here)


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    monkeypatch.setattr(cuda_graph, "Graph", OnCpu)
    monkeypatch.setattr(OnCpu, "captured", 0)


def step(tensors):
    """A gradient step on a sum of squares, in place; the loss before it."""
    parameter, x = tensors
    loss = ((parameter - x) ** 2).sum()
    parameter.sub_(0.1 * 2 * (parameter - x))
    return [loss]


def test_replays_are_the_steps_themselves():
    parameter, reference = torch.zeros(3), torch.zeros(3)
    graph = InOneGraph(step, [1])
    losses = []
    for n in range(10):
        x = torch.full((3,), float(n))
        (loss,) = graph([parameter, x])
        losses.append(loss)
        (expected,) = step([reference, x])
        assert torch.equal(loss, expected)
        assert torch.equal(parameter, reference)
    assert OnCpu.captured == 1
    assert len({loss.item() for loss in losses}) == 10  # each in a tensor of its own


def test_a_parameter_that_became_another_tensor_is_captured_anew():
    graph = InOneGraph(step, [1])
    parameter = torch.zeros(3)
    for n in range(WARM_UP + 4):
        if n == WARM_UP + 2:
            parameter = parameter.clone()
        before = parameter.clone()
        graph([parameter, torch.ones(3)])
        assert not torch.equal(parameter, before)
    assert OnCpu.captured == 2


def test_the_first_calls_are_not_captured():
    graph = InOneGraph(step, [1])
    for _ in range(WARM_UP):
        graph([torch.zeros(3), torch.ones(3)])
    assert OnCpu.captured == 0
