"""Where steps are taken."""

from __future__ import annotations

import torch


def unfit(name: str) -> str:
    """What to say of a device on which nothing can be measured here; nothing of others."""
    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        return f"expected the device cpu, cuda, or one of several such as cuda:1, got {name!r}"
    if kind == "cuda" and not torch.cuda.is_available():
        return f"the device {name} was asked for, but PyTorch sees no GPU here: install a build for CUDA"
    return ""
