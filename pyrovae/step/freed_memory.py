"""Memory that a step frees stays with the process for the next step."""

from __future__ import annotations

import ctypes
import os
import platform

import torch

LARGEST = 31 * 2**20  # bytes of a block; of 32 MiB and more, glibc takes no note
KEPT = 2**30  # bytes that are free at the end of memory
TRIM_THRESHOLD = -1  # the name of M_TRIM_THRESHOLD in malloc.h


def keep_freed_memory() -> None:
    """Tell the C library that blocks up to `LARGEST` are taken and freed again and again.

    Unless it was told otherwise, the GNU C library takes each large block from the system until one of its
    size was freed; and it gives what is free at the end of its memory back as soon as that is more than twice
    the largest of those. The next step then takes it from the system again, page by page: for many particles
    that takes as long as the arithmetic. Other C libraries do not mind.
    """
    torch.empty(LARGEST, dtype=torch.uint8, device="cpu")
    told = os.environ.get("MALLOC_TRIM_THRESHOLD_"), os.environ.get("GLIBC_TUNABLES", "")
    if platform.libc_ver()[0] == "glibc" and told[0] is None and "trim_threshold" not in told[1]:
        ctypes.CDLL(None).mallopt(TRIM_THRESHOLD, KEPT)
