"""A graph of tensor operations as a Python function that does nothing but call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx


def playback(graph: fx.Graph) -> Callable[..., list[Any]]:
    """Write a graph as a function of its inputs.

    Operations are called by what lies under their names, without a look-up at each call, and what is no
    longer needed is let go at once.

    Args:
        graph: of calls of functions alone.

    Returns:
        A function from the inputs, one by one, to a list of the outputs.
    """
    writer = _Writer()
    for node in graph.nodes:
        writer.write(node)
    source = f"def play({', '.join(writer.inputs)}):\n" + "\n".join(writer.lines) + "\n"
    exec(compile(source, "<recorded step>", "exec"), writer.bound)
    play: Callable[..., list[Any]] = writer.bound["play"]
    if not any(node.target in _KEEP_FOR_GRADIENTS for node in graph.nodes):
        return play

    def with_gradients(*inputs: Any) -> list[Any]:
        with torch.enable_grad():
            return play(*(t.detach() if isinstance(t, Tensor) else t for t in inputs))

    return with_gradients


# An LSTM on a CPU keeps what its gradient needs only while gradients are taken.
_KEEP_FOR_GRADIENTS = (torch.ops.aten.mkldnn_rnn_layer.default,)


class _Writer:
    """Lines of the function, and the objects that they name."""

    def __init__(self) -> None:
        self.inputs: list[str] = []
        self.lines: list[str] = []
        self.bound: dict[str, Any] = {}
        self._names: dict[fx.Node, str] = {}
        self._users: dict[fx.Node, int] = {}

    def write(self, node: fx.Node) -> None:
        """Add what a node does."""
        if node.op == "output":
            self.lines.append(f"    return {self._value(list(node.args[0]))}")  # type: ignore[arg-type]
            return
        name = self._names[node] = f"v{len(self._names)}"
        self._users[node] = len(node.users)
        if node.op == "placeholder":
            self.inputs.append(name)
            return
        if node.op != "call_function":
            raise ValueError(f"a recorded step calls functions alone, not {node.op}")
        target: Any = node.target
        called = self._bind(target._op if isinstance(target, torch._ops.OpOverload) else target)
        arguments = [self._value(argument) for argument in node.args]
        arguments += [f"{key}={self._value(value)}" for key, value in node.kwargs.items()]
        self.lines.append(f"    {name} = {called}({', '.join(arguments)})")
        over = [name for parent in node.all_input_nodes for name in self._over(parent)]
        if over:
            self.lines.append(f"    del {', '.join(over)}")

    def _over(self, node: fx.Node) -> list[str]:
        """The name of a node that has no use left; inputs belong to the caller."""
        self._users[node] -= 1
        return [self._names[node]] if not self._users[node] and node.op != "placeholder" else []

    def _value(self, value: Any) -> str:
        if isinstance(value, fx.Node):
            return self._names[value]
        if isinstance(value, list | tuple):
            inner = ", ".join(self._value(part) for part in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if value else ''})"
        if value is None or isinstance(value, bool | int | str):
            return repr(value)
        return self._bind(value)  # floats too, whatever their digits

    def _bind(self, value: Any) -> str:
        name = f"b{len(self.bound)}"
        self.bound[name] = value
        return name
