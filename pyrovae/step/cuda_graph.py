"""A function of tensors in one CUDA graph: the host asks once for all kernels of a step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

Function = Callable[[list[Tensor]], Sequence[Tensor | None]]
WARM_UP = 3  # calls before the capture, in which libraries take what memory they need


class Graph:
    """A graph of the current device; torch's generator is told, so that every replay draws anew."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()

    def capture(self, function: Callable[[], Sequence[Tensor | None]]) -> Sequence[Tensor | None]:
        """Note what a function asks of the device, without its being done; the tensors it will fill."""
        torch.cuda.synchronize()
        with torch.cuda.graph(self._graph):
            return function()

    def replay(self) -> None:
        """Do it."""
        self._graph.replay()


class InOneGraph:
    """A function of tensors that is captured after some calls and replayed from then on.

    Inputs that stay the same tensors (parameters, the optimizer's memory) are read and changed where they
    are. Those that differ from call to call are copied to a place that stays. If one that should stay has
    become another tensor, the function is captured anew.

    Args:
        function: what is captured; it must not wait for the device.
        varying: the numbers of the inputs that differ from call to call.
    """

    def __init__(self, function: Function, varying: Collection[int]) -> None:
        self._function = function
        self._varying = frozenset(varying)
        self._calls = 0
        self._graph: Graph | None = None
        self._inputs: list[Tensor] = []
        self._outputs: Sequence[Tensor | None] = []

    def __call__(self, inputs: list[Tensor]) -> list[Tensor | None]:
        """What the function returns, in tensors of their own."""
        self._calls += 1
        if self._calls <= WARM_UP:
            return list(self._function(list(inputs)))
        if self._graph is None or not self._fits(inputs):
            self._capture(inputs)
        for number in self._varying:
            self._inputs[number].copy_(inputs[number])
        if self._graph is not None:
            self._graph.replay()
        return [None if output is None else output.clone() for output in self._outputs]

    def _capture(self, inputs: list[Tensor]) -> None:
        self._inputs = [
            tensor.clone() if number in self._varying else tensor
            for number, tensor in enumerate(inputs)
        ]
        self._graph = Graph()
        self._outputs = self._graph.capture(lambda: self._function(list(self._inputs)))

    def _fits(self, inputs: list[Tensor]) -> bool:
        return all(
            number in self._varying or here is there
            for number, (here, there) in enumerate(zip(inputs, self._inputs, strict=True))
        )
