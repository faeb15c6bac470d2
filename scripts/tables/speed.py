"""Time of a training step against the machine's matrix products; time and memory of an evaluation."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pyrovae import SVI
from pyrovae.experiment import Experiment
from pyrovae.running.config import Config

IMAGES, CHUNK = 10_000, 1000


def measure(config: Config) -> dict[str, Any]:
    """Measure with parameters as they are at the start, which cost what trained ones do."""
    experiment = Experiment.build(config)
    began = time.perf_counter()
    rows = experiment.data.fixed("test")[:IMAGES]
    for x in rows.split(CHUNK):
        experiment.estimator(experiment.model, experiment.guide, x, seed=0)
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    step, share = training(experiment)
    found = {
        "evaluation seconds": round(seconds, 1),
        "evaluation images": len(rows),
        "peak GiB": round(memory, 2),
        "step milliseconds": round(step * 1e3, 3),
        "share of the speed of matrix products": round(share, 2),
        "seconds a pass": round(step * len(experiment.data.train) / batch(experiment), 2),
    }
    for key, value in found.items():
        print(f"{key:<40}{value:>10}")
    return found


def training(experiment: Experiment) -> tuple[float, float]:
    """Seconds of a compiled step, and what share of the speed of large matrix products it has."""
    svi = SVI(
        experiment.model,
        experiment.guide,
        lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        experiment.objective,
        level="compiled",
    )
    x = experiment.data.fixed("validation")[: batch(experiment)]
    seconds = median_seconds(lambda: svi.step_tensor(x))
    a = torch.rand(1024, 1024)
    speed = 2 * 1024**3 / median_seconds(lambda: a @ a)
    return seconds, operations(experiment, len(x)) / seconds / speed


def operations(experiment: Experiment, rows: int) -> float:
    """Of the matrix products of a step: forward, and backward to weights and to activations.

    What goes into the first layer of the encoder is data, to which no gradient goes.
    """
    particles = getattr(experiment.objective, "num_particles", 1)

    def weights(module: nn.Module) -> list[int]:
        return [m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear)]

    encoder, decoder = weights(experiment.guide), weights(experiment.model)
    return 2.0 * rows * (3 * sum(encoder) - encoder[0] + 3 * particles * sum(decoder))


def batch(experiment: Experiment) -> int:
    """Rows of a batch."""
    return int(experiment.config.fit["batch_size"])


def median_seconds(call: Callable[[], Any], repeats: int = 60) -> float:
    """Median seconds of a call, after a few that warm up."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return sorted(times[10:])[len(times[10:]) // 2]
