"""Memory that a step frees stays with the process for the next step."""

from __future__ import annotations

import torch

LARGEST = 31 * 2**20  # bytes; of 32 MiB and more, glibc takes no note


def keep_freed_memory() -> None:
    """Free a large block once.

    The GNU C library gives what is free at the end of its memory back to the system as soon as that is more
    than twice the largest block that was freed so far. A step that frees all its blocks, each much smaller
    than the whole, then takes them from the system again at every step, page by page: for many particles
    that takes as long as the arithmetic. Other C libraries do not mind.
    """
    torch.empty(LARGEST, dtype=torch.uint8, device="cpu")
