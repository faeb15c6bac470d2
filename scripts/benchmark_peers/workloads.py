"""What is timed: sizes of models, batches and particles. Standard library alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """One kind of training step."""

    title: str
    features: int
    hidden: tuple[int, ...]
    latent: int
    batch: int = 128
    particles: int = 1
    likelihood: str = "gaussian"  # or "bernoulli"
    components: int = 0  # of a mixture; 0 is a VAE
    block: int = 10  # steps timed at once
    epoch: int = 100  # steps of one scan
    device: str = "cpu"  # or "cuda"

    @property
    def seed(self) -> int:
        """Of data and parameters."""
        return 0


WORKLOADS = {
    "small": Workload("64-64-2 VAE", 64, (64, 64), 2),
    "large": Workload("784-400-20 VAE", 784, (400,), 20, likelihood="bernoulli", block=2, epoch=20),
    "k20": Workload("64-64-2, K = 20", 64, (64, 64), 2, particles=20, block=2, epoch=20),
    "mixture": Workload("mixture, 10 components", 64, (), 0, components=10),
    "iwae": Workload(
        "784-200-200-50 IWAE, K = 50",
        784,
        (200, 200),
        50,
        batch=100,
        particles=50,
        likelihood="bernoulli",
        block=1,
        epoch=2,
    ),
}
