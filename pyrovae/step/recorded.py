"""What a recording knows of a tensor while it is made."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from pyrovae.step.noise import is_draw


def is_from_elsewhere(tensor: Tensor) -> bool:
    """Whether a tensor was there before the recording, and is no input of it."""
    return _slot(tensor, True) is None


def is_constant(tensor: Tensor) -> bool:
    """Whether a tensor was made from numbers of Python."""
    slot = _slot(tensor, False)
    return slot is False or (slot is not None and slot.constant is not None)


def depends_on_nothing(tensor: Tensor) -> bool:
    """Whether a tensor was made of no other tensor and no draw, such as a range of numbers."""
    slot = _slot(tensor, None)
    if slot is None:
        return False
    waiting, seen = [slot.proxy.node], set()
    while waiting:
        node = waiting.pop()
        if node.op != "call_function" or is_draw(node):
            return False
        seen.add(node)
        waiting += [parent for parent in node.all_input_nodes if parent not in seen]
    return True


def number(tensor: Tensor) -> Any:
    """The number that a tensor holds, which becomes part of the recording."""
    with _disable_current_modes():
        return tensor.item()


def _slot(tensor: Tensor, outside: Any) -> Any:
    """What a recording knows of a tensor; where nothing is recorded, ``outside``."""
    from torch.fx.experimental.proxy_tensor import get_proxy_mode, get_proxy_slot

    mode = get_proxy_mode()
    return outside if mode is None else get_proxy_slot(tensor, mode.tracer, None)
