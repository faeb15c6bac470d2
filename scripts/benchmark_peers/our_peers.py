"""`pyrovae.SVI` at its three levels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from data import batches
from programs import training
from workloads import Workload

Run = Callable[[int], None]


def eager(workload: Workload) -> Run:
    """Handlers at every step."""
    return _trained(workload, "eager")


def traced(workload: Workload) -> Run:
    """Handlers once, their tensor operations ever after."""
    return _trained(workload, "traced")


def compiled(workload: Workload) -> Run:
    """The same, and Adam, as machine code."""
    return _trained(workload, "compiled")


def steps(workload: Workload) -> Run:
    """Compiled, an epoch of batches at once: ``svi.steps``."""
    svi, data = training(workload, "compiled"), batches(workload)
    epoch = torch.stack([data[n % len(data)] for n in range(workload.epoch)])

    def run(steps: int) -> None:
        for _ in range(max(1, steps // workload.epoch)):
            svi.steps(epoch)

    return run


def _trained(workload: Workload, level: Any) -> Run:
    svi, data = training(workload, level), batches(workload)

    def run(steps: int) -> None:
        for n in range(steps):
            svi.step_tensor(data[n % len(data)])

    return run
