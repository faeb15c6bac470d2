"""Settings of a step: looked at when they are assigned, after which the step is put together anew."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args, overload

import pyro
import torch
from pyro.infer import ELBO
from torch import Tensor

from pyrovae.step.policy import Level
from pyrovae.step.precision import Precision

T = TypeVar("T")
OptimizerFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
Optimizer: TypeAlias = pyro.optim.PyroOptim | torch.optim.Optimizer | OptimizerFactory
# What is put together anew: the function of a batch, the optimizer, or the recordings alone.
Part = Literal["function", "optimizer", "recordings"]


class Setting(Generic[T]):
    """An attribute that anyone may assign at any time, and that holds from the next step on.

    Args:
        part: what depends on it.
        check: raises where a value cannot be worked with.
    """

    def __init__(self, part: Part, check: Callable[[Any], None] = lambda value: None) -> None:
        self._part = part
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Setting[T]: ...
    @overload
    def __get__(self, instance: object, owner: Any = None) -> T: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        try:
            return vars(instance)[self._name]
        except KeyError:
            raise AttributeError(self._name) from None

    def __set__(self, instance: Any, value: T) -> None:
        self._check(value)
        again = self._name in vars(instance)
        vars(instance)[self._name] = value
        if again:
            instance._renew(self._part)


_JIT = (
    pyro.infer.JitTrace_ELBO,
    pyro.infer.JitTraceEnum_ELBO,
    pyro.infer.JitTraceGraph_ELBO,
    pyro.infer.JitTraceMeanField_ELBO,
)


def check_loss(loss: Any) -> None:
    """Refuse what is no objective."""
    if not isinstance(loss, ELBO):
        raise TypeError(
            f"loss is a {type(loss).__name__}: it must be an objective, such as "
            "pyrovae.objectives.ELBO() or pyro.infer.Trace_ELBO()"
        )
    if isinstance(loss, pyro.infer.ReweightedWakeSleep):
        raise TypeError(
            "ReweightedWakeSleep has two losses, one for the model and one for the guide, and a step here "
            "returns one: use pyrovae.objectives.WakeSleep"
        )
    if isinstance(loss, _JIT):
        name = type(loss).__name__
        raise TypeError(
            f"{name} records the programs by itself, and finds no parameters of modules: use "
            f"pyro.infer.{name.removeprefix('Jit')}, which pyrovae.SVI records"
        )


def check_level(level: Any) -> None:
    """Refuse an unknown one."""
    if level not in get_args(Level):
        raise ValueError(f"level is {level!r}: the known ones are {', '.join(get_args(Level))}")


def check_precision(precision: Any) -> None:
    """Refuse an unknown one."""
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise ValueError(f"precision is {precision!r}: the known ones are {known}")


def check_norm(norm: Any) -> None:
    """Refuse what nothing can be clipped to."""
    if norm is not None and not norm > 0:
        raise ValueError(f"clip_norm is {norm}: a norm to clip at is above 0")


def check_optim(optim: Any) -> None:
    """Refuse what is no optimizer and makes none, as far as that shows before it is called."""
    if not callable(optim) and not isinstance(optim, torch.optim.Optimizer):
        raise TypeError(
            f"optim is a {type(optim).__name__}: it must be an optimizer of pyro.optim, a "
            "torch.optim.Optimizer, or a callable that makes one from parameters"
        )
    kind = optim.pt_optim_constructor if isinstance(optim, pyro.optim.PyroOptim) else optim
    while isinstance(kind, functools.partial):
        kind = kind.func
    kind = kind if isinstance(kind, type) else type(kind)
    if not issubclass(kind, torch.optim.Optimizer):
        return
    closure = inspect.signature(kind.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise TypeError(
            f"{kind.__name__} runs the programs several times in a step, each time with other draws: use an "
            "optimizer that goes by one gradient, such as torch.optim.Adam"
        )


def made(optim: Any, parameters: list[Tensor]) -> pyro.optim.PyroOptim | torch.optim.Optimizer:
    """The optimizer that was given, or that what was given makes for some parameters."""
    if isinstance(optim, pyro.optim.PyroOptim | torch.optim.Optimizer):
        return optim
    optimizer = optim(parameters)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optim made a {type(optimizer).__name__}: it must make a torch.optim.Optimizer from parameters"
        )
    check_optim(optimizer)
    return optimizer
