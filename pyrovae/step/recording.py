"""Recording a function of tensors as a graph of tensor operations, and playing it back.

Pyro's handlers, the parameter store and the modules are ordinary Python around tensor operations. For a
program of static structure that Python does the same at every step, so it need run only once: what it
asked of the tensors is written down as a graph, random draws included, and the graph is what is run
from then on. Draws come from torch's global generator in the same order, so numbers stay the same bits.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pyro
import torch
from torch import Tensor, fx
from torch.distributions import Distribution
from torch.overrides import TorchFunctionMode

from pyrovae.step.agreement import sound
from pyrovae.step.effects import Undo, changed_inputs, has_effect, shape_of_values
from pyrovae.step.freed_memory import keep_freed_memory
from pyrovae.step.playback import playback
from pyrovae.step.random_state import Before, other_randomness
from pyrovae.step.recorded import depends_on_nothing, is_constant, is_from_elsewhere, number

Outputs = list[Tensor | None]
ATTEMPTS = 5


class CannotRecordError(Exception):
    """The program cannot become a graph; the message says why."""


class NotFiniteError(CannotRecordError):
    """The loss of this very call is not a number, of which the program itself may have something to say."""


class OtherRandomnessError(CannotRecordError):
    """Random numbers were drawn that are not torch's."""


class ParametersChangedError(CannotRecordError):
    """The programs use other parameters than those gradients are computed for."""


class Recording:
    """A graph of tensor operations, from a list of input tensors to a list of outputs.

    Args:
        graph: takes the inputs and then the constants.
        constants: tensors that the program took from elsewhere, which are read anew at every play, and
            random generators of its own.
    """

    def __init__(self, graph: fx.GraphModule, constants: Sequence[Tensor]) -> None:
        self.graph = graph
        self.constants = list(constants)
        self.generators = [g for g in self.constants if isinstance(g, torch.Generator)]
        self._changed = changed_inputs(graph.graph)
        self._forward: Callable[..., Outputs] = playback(graph.graph)

    def __call__(self, inputs: Sequence[Tensor]) -> Outputs:
        """Run the graph; inputs that the program changed in place are changed in place."""
        with torch.no_grad():
            return self._forward(*inputs, *self.constants)

    def changed(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Those of the inputs and the constants that a play changes in place."""
        tensors = [*inputs, *self.constants]
        return [tensors[number] for number in self._changed]

    @property
    def gives(self) -> list[bool]:
        """Which of the outputs are tensors, not None."""
        (output,) = (node for node in self.graph.graph.nodes if node.op == "output")
        return [value is not None for value in output.args[0]]


def record(
    function: Callable[[], Outputs],
    inputs: Sequence[Tensor],
    state: Sequence[Tensor],
    *,
    finite: bool = False,
) -> tuple[Recording, Outputs]:
    """Run ``function`` once, and write down what it does to tensors.

    Args:
        function: takes the very tensors in ``inputs`` from its surroundings, and returns tensors.
        inputs: the tensors that may hold other numbers the next time.
        state: those of them that the function may change in place, to be put back if it fails.
        finite: whether the first result must be finite.

    Returns:
        The recording, and what ``function`` returned.

    Raises:
        CannotRecordError: the program has no static structure, or does something besides tensor operations.
    """
    keep_freed_memory()
    for _ in range(ATTEMPTS - 1):
        try:
            return _record(function, inputs, state, finite)
        except OtherRandomnessError:
            if threading.active_count() == 1:
                raise
            # Another thread may have drawn them, such as the heartbeat of a cluster's worker.
    return _record(function, inputs, state, finite)


def _record(
    function: Callable[[], Outputs], inputs: Sequence[Tensor], state: Sequence[Tensor], finite: bool
) -> tuple[Recording, Outputs]:
    from torch.fx.experimental.proxy_tensor import make_fx

    results: list[Outputs] = []

    def recorded(*_: Tensor) -> Outputs:
        with _ValuesStayTensors(), changes:
            results.append(function())
        return results[-1]

    before = Before(state, inputs)
    others, changes = other_randomness(), Undo()
    try:
        # Checks of values are data-dependent control flow: none are made of the values of this call, and
        # none when it is played.
        with pyro.validation_enabled(False), _no_look_at_values():
            graph = make_fx(recorded)(*inputs)
        if others != other_randomness():
            raise OtherRandomnessError("it draws from Python's or NumPy's random numbers")
        if finite and not sound(results[-1], wait=True):
            raise NotFiniteError("its loss is not a number")
        if any(t is not None and t.layout is not torch.strided for t in results[-1]):
            raise CannotRecordError("a gradient is sparse")
        operation = shape_of_values(graph.graph)
        if operation is not None:
            raise CannotRecordError(f"the values of a tensor determine a shape ({operation})")
    except Exception as error:
        changes.undo()
        before.restore()
        if isinstance(error, CannotRecordError):
            raise
        raise CannotRecordError(reason(error)) from error
    return Recording(*tidy(graph)), results[-1]


def tidy(module: fx.GraphModule) -> tuple[fx.GraphModule, list[Tensor]]:
    """Take out operations that have no effect, and make tensors from elsewhere inputs.

    Returns:
        The graph, which takes a plain list of tensors, and the tensors from elsewhere, its last inputs.
    """
    graph = module.graph
    for node in reversed(list(graph.nodes)):
        if node.op in ("call_function", "get_attr") and not node.users and not has_effect(node):
            graph.erase_node(node)
    elsewhere: dict[str, fx.Node] = {}
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    for node in list(graph.nodes):
        if node.op == "get_attr":
            if node.target not in elsewhere:
                with graph.inserting_after(last):
                    last = elsewhere[node.target] = graph.placeholder(f"constant_{len(elsewhere)}")
                last.meta = dict(node.meta)
            node.replace_all_uses_with(elsewhere[node.target])
            graph.erase_node(node)
    graph.set_codegen(fx.graph.CodeGen())
    module.recompile()
    return module, [getattr(module, name) for name in elsewhere]


_LEAVES_TORCH = (Tensor.numpy, Tensor.__array__, Tensor.tolist)
# Of what was computed, make_fx itself refuses these.
_BECOMES_PYTHON = (
    Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.__complex__,
)  # fmt: skip


class _ValuesStayTensors(TorchFunctionMode):
    """Hands out a scalar tensor where a program asks for a number that depends on the data.

    Pyro's losses subtract ``surrogate.item()``; a constant in its place would be wrong at the next step.
    Where ``TraceEnum_ELBO`` leaves out terms of probability zero if there are any, they are zeroed.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.__bool__, Tensor.masked_select) and _caller() == "pyro.infer.util":
            return False if func is Tensor.__bool__ else torch.where(args[1], args[0], 0.0)
        held = func in _BECOMES_PYTHON and is_from_elsewhere(args[0])
        if held or (func in _LEAVES_TORCH and not is_constant(args[0])):
            raise CannotRecordError(f"it takes values out of a tensor ({func.__name__})")
        if func is torch.nn.functional.one_hot and len(args) == 2 and args[1] > 0:
            # Torch's own looks at the largest category.
            kinds = torch.arange(args[1], device=args[0].device)
            return (args[0].unsqueeze(-1) == kinds).to(args[0].dtype)
        if func is Tensor.item:
            if _caller() == "pyro.poutine.indep_messenger" and depends_on_nothing(args[0]):
                return number(args[0])  # one by one, a plate runs through all its rows
            if is_from_elsewhere(args[0]):
                return args[0].detach()
            try:
                return func(*args)
            except RuntimeError:
                return args[0].detach()
        return func(*args, **(kwargs or {}))


def _caller() -> str:
    return str(sys._getframe(2).f_globals.get("__name__"))


@contextmanager
def _no_look_at_values() -> Iterator[None]:
    """A recording cannot branch on values, to warn or to raise.

    Pyro's losses look for NaN; and distributions that were made, and expanded, while validation was on
    go on with it, such as the priors of a ``PyroSample``.
    """
    no_look = mock.patch.object(Distribution, "_validate_sample", return_value=None)
    with mock.patch("pyro.util.torch_isnan", return_value=False), no_look:
        yield


def reason(error: Exception) -> str:
    """What went wrong, in a line."""
    message = str(error).strip().splitlines()
    first = message[0] if message else type(error).__name__
    if "tracing tensor" in first or "data-dependent" in first or "DataDependent" in first:
        return "what it does next depends on a value in a tensor"
    return f"{type(error).__name__}: {first}"
