"""What operations do besides returning something new: change tensors in place, draw, find out shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from pyrovae.step.noise import is_draw

# Batch normalisation changes these, and not all of its operations say so.
_CHANGED_SILENTLY = ("running_mean", "running_var")


def changed_inputs(graph: fx.Graph) -> list[int]:
    """Which inputs of a graph it changes in place, themselves or through a view of them."""
    _, changed = _changed(graph)
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    return [number for number, node in enumerate(inputs) if node in changed]


def shape_of_values(graph: fx.Graph) -> str | None:
    """The first operation whose result has as many elements as the values of its arguments make it have.

    Values that are the same at every play, such as a triangle of indices, determine a shape once and for all.
    """
    same = _same_at_every_play(graph)
    for node in graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            if torch.Tag.dynamic_output_shape not in node.target.tags:
                continue
            deciding = node.all_input_nodes
            if node.target is torch.ops.aten.index.Tensor:
                # Row numbers take as many rows as there are numbers; a mask does not.
                deciding = [index for index in node.args[1] if _is_mask(index)]
            if not same.issuperset(deciding):
                return str(node.target._schema.name.removeprefix("aten::"))
    return None


def _same_at_every_play(graph: fx.Graph) -> set[Any]:
    """The nodes that depend on no input, no draw, and nothing that is changed in place."""
    part_of, changed = _changed(graph)
    same: set[Any] = set()
    for node in graph.nodes:
        fixed = node.op == "call_function" and same.issuperset(node.all_input_nodes)
        if fixed and not is_draw(node) and part_of[node] not in changed:
            same.add(node)
    return same


def _changed(graph: fx.Graph) -> tuple[dict[Any, Any], set[Any]]:
    """What each node is a view of, or itself; and those of these that are changed in place."""
    part_of: dict[Any, Any] = {}
    changed: set[Any] = set()
    for node in graph.nodes:
        part_of[node] = node
        if node.op != "call_function":
            continue
        if node.target is getitem:
            part_of[node] = part_of[node.args[0]]
        for writes, argument in _in_place(node.target, node.args, node.kwargs):
            part_of[node] = part_of.get(argument, node)
            if writes:
                changed.add(part_of[node])
    return part_of, changed


def has_effect(node: fx.Node) -> bool:
    """Whether an operation matters even if nobody uses its result."""
    if node.op == "get_attr" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    return node.target._schema.is_mutable or is_draw(node)


class Undo(TorchDispatchMode):
    """Keeps what every tensor held before it was changed in place, and generators, to put it back."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[int, tuple[Tensor, Tensor]] = {}
        self._generators: dict[int, tuple[torch.Generator, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for writes, tensor in _in_place(func, args, kwargs):
            if writes and id(tensor) not in self._held:
                with _disable_current_modes():
                    self._held[id(tensor)] = tensor, tensor.detach().clone()
        generator = kwargs.get("generator")
        if generator is not None and id(generator) not in self._generators:
            self._generators[id(generator)] = generator, generator.get_state()
        return func(*args, **kwargs)

    @torch.no_grad()
    def undo(self) -> None:
        """Put everything back, what was changed last first."""
        for tensor, before in reversed(self._held.values()):
            tensor.copy_(before)
        for generator, state in self._generators.values():
            generator.set_state(state)


def _in_place(
    target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[tuple[bool, Any]]:
    """The arguments that an operation returns views of, or changes, and whether it does that."""
    if not isinstance(target, torch._ops.OpOverload):
        return
    arguments = target._schema.arguments
    given = [*zip(arguments, args, strict=False)]
    given += [
        (argument, kwargs[argument.name]) for argument in arguments if argument.name in kwargs
    ]
    for argument, value in given:
        alias = argument.alias_info
        writes = argument.name in _CHANGED_SILENTLY or (alias is not None and alias.is_write)
        if writes or alias is not None:
            for part in value if isinstance(value, list | tuple) else [value]:
                if part is not None:
                    yield writes, part


def _is_mask(index: Any) -> bool:
    return index is not None and index.meta["val"].dtype in (torch.bool, torch.uint8)
