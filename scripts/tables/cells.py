"""A cell of a published table: what is run for it, what was published, and what others found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyrovae.running.config import Config

PARTICLES = 5000  # draws for each image, as in all of these papers


@dataclass(frozen=True)
class Cell:
    """One number of a table, in nats per image.

    Args:
        name: of the row and column, as typed on the command line.
        config: of the run; its seed is replaced by those asked for.
        published: log p(x) of the test images; larger is better.
        source: of it.
        reproductions: the same cell with the same gradients, as others found it.
        note: what differs from the published set-up.
    """

    name: str
    config: Config
    published: float
    source: str
    reproductions: tuple[float, ...] = ()
    note: str = ""


def one_layer(
    data: Mapping[str, Any],
    objective: Mapping[str, Any],
    *,
    passes: int,
    latent: int = 50,
    hidden: tuple[int, ...] = (200, 200),
    activation: str = "tanh",
    lr: float = 1e-3,
    scheduler: Mapping[str, Any] | str = "CosineAnnealingLR",
    batch_size: int = 100,
    validate_every: int | None = None,
) -> Config:
    """The VAE of one stochastic layer with Bernoulli pixels, the encoder a mirror of the decoder.

    ``validate_every`` None keeps the last parameters, a number the best on the validation images.
    """
    return Config.read(
        {
            "data": dict(data),
            "model": {
                "name": "VAE",
                "latent": latent,
                "hidden": list(hidden),
                "activation": activation,
                "likelihood": "bernoulli",
            },
            "guide": {"name": "Amortized", "hidden": list(hidden[::-1]), "activation": activation},
            "objective": dict(objective),
            "optim": {"name": "Adam", "lr": lr},
            "scheduler": scheduler,
            "evidence": {"name": "ImportanceSampling", "num_particles": PARTICLES},
            "fit": {
                "epochs": passes,
                "batch_size": batch_size,
                "validate_every": validate_every or passes,
            },
            "evaluate": {"elbo_particles": 100},
        }
    )


def two_layers(
    data: Mapping[str, Any], objective: Mapping[str, Any], *, passes: int, lr: float
) -> Config:
    """The model of two stochastic layers of Burda et al., whose sizes are the defaults."""
    return one_layer(data, objective, passes=passes, lr=lr).updated(
        {"model": "HierarchicalVAE", "guide": "Hierarchical"}
    )


def decaying(*milestones: int) -> dict[str, Any]:
    """A learning rate that falls tenfold in seven steps, at these passes."""
    return {"name": "MultiStepLR", "milestones": list(milestones), "gamma": 10 ** (-1 / 7)}
