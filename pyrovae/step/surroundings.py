"""What surrounds a step: handlers and modes that its caller has entered."""

from __future__ import annotations

from typing import Any

import torch
from pyro.poutine.runtime import _PYRO_STACK


def enclosing() -> str | None:
    """What the caller is inside of that a recording would not feel; None is the usual case.

    A handler of Pyro's may see, change and remember every site; autocast changes what operations
    compute in, and remembers what it has cast. Handlers of this package only say whose parameters count.

    Example:
        >>> from pyro import poutine
        >>> with poutine.scale(scale=0.1):
        ...     enclosing()
        'a handler of Pyro (ScaleMessenger)'
    """
    for handler in _PYRO_STACK:
        if not type(handler).__module__.startswith("pyrovae."):
            return f"a handler of Pyro ({type(handler).__name__})"
    if torch._C._is_any_autocast_enabled():
        return "torch.autocast (`precision` of pyrovae.SVI is the way to faster products)"
    return None


def defaults() -> tuple[Any, ...]:
    """What torch makes tensors as where nothing is said: the type, and how many modes have a say."""
    return torch.get_default_dtype(), torch._C._len_torch_function_stack()
