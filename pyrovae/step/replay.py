"""Functions that run programs many times without training them: evaluation, chains, draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from pyrovae.programs import modules_of
from pyrovae.step.capture import Capture
from pyrovae.step.compiled import CompiledFunction
from pyrovae.step.policy import Level, Policy
from pyrovae.step.recording import Outputs


class Replay:
    """A function of tensors that runs programs: recorded as soon as that pays, and played back.

    Its results carry no gradient to its arguments; gradients that it takes itself are recorded with the
    rest. Random draws come from torch's global generator, as in the function.

    Args:
        function: called with the arguments of a call; returns tensors.
        *programs: the programs it runs, and other objects whose attributes it reads.
        level: as for `pyrovae.SVI`; ``"auto"`` does not compile: a clock would say from which call on.
        calls: how many calls there will be, if it is known.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 3)
        >>> twice = Replay(lambda x: [2 * layer(x)], layer, level="traced")
        >>> [twice(torch.ones(5, 2))[0].shape for _ in range(3)]
        [torch.Size([5, 3]), torch.Size([5, 3]), torch.Size([5, 3])]
    """

    def __init__(
        self,
        function: Callable[..., Sequence[Tensor]],
        *programs: Any,
        level: Level = "auto",
        calls: int | None = None,
    ) -> None:
        self._function = function
        modules: list[nn.Module] = modules_of(*(p for p in programs if callable(p)))
        tensors = [t for module in modules for t in (*module.parameters(), *module.buffers())]
        policy = Policy(level, calls, reproducible=True)
        self._capture = Capture(self._run, programs, tensors, policy, compiler=CompiledFunction)
        self._level = level
        self._warm = False

    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        """What the function returns."""
        if not self._warm or self._level == "eager":
            self._warm = True  # what is made at the first call, such as a cache, is no change later
            outputs = self._run(args, kwargs)
        else:
            outputs = self._capture(args, kwargs)
        return [output for output in outputs if output is not None]

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outputs:
        return [output.detach() for output in self._function(*args, **kwargs)]
