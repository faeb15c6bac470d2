"""The batches that all peers in torch are fed."""

from __future__ import annotations

import torch
from torch import Tensor
from workloads import Workload


def batches(workload: Workload) -> list[Tensor]:
    """Fifty batches of zeros and ones."""
    generator = torch.Generator().manual_seed(workload.seed)
    shape = (50, workload.batch, workload.features)
    return list(torch.rand(shape, generator=generator).round().to(workload.device))


def bit_pixels(workload: Workload) -> bool:
    """Whether the decoder says the probability of a 1."""
    return workload.likelihood == "bernoulli"
