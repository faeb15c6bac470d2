"""Small fits of every kind, to be killed and taken up again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyro
import torch

from pyrovae import checkpoint
from pyrovae.fit import fit
from pyrovae.guides import Amortized, ExactPosterior, PerDatapoint
from pyrovae.models import VAE, GaussianMixture, ProbabilisticPCA
from pyrovae.objectives import ELBO, IWAE, Beta, Renyi
from pyrovae.training.checkpoint_folder import CheckpointFolder

FEATURES, ROWS = 6, 70
X = torch.rand(ROWS, FEATURES, generator=torch.Generator().manual_seed(0))
MISSING = torch.where(
    torch.rand(X.shape, generator=torch.Generator().manual_seed(1)) < 0.1, torch.nan, X
)


@dataclass(frozen=True)
class Combination:
    """A model, a guide, an objective, an optimiser, and how steps are taken."""

    parts: Callable[[], tuple[Any, Any]]
    objective: Callable[[], Any]
    options: Callable[[], dict[str, Any]] = dict
    level: str = "eager"
    validated: bool = True
    data: torch.Tensor = field(default_factory=lambda: X)

    def fit(
        self, folder: Path | None, *, resume: bool = True, epochs: int = 8, **options: Any
    ) -> None:
        """Carry it out from the beginning, or from where the folder says."""
        torch.manual_seed(0)
        pyro.clear_param_store()
        model, guide = self.parts()
        chosen = {"checkpoint_steps": 2, "checkpoint_seconds": None, **self.options(), **options}
        fit(
            model,
            guide,
            self.data,
            self.objective(),
            epochs=epochs,
            batch_size=16,
            seed=3,
            validation=X[:20] if self.validated else None,
            progress=False,
            level=self.level,
            run_dir=folder,
            resume=resume and folder is not None,
            **chosen,
        )


def vae() -> tuple[Any, Any]:
    """An amortized VAE."""
    return VAE(FEATURES, latent=2, hidden=(8,)), Amortized(FEATURES, 2, hidden=(8,))


def table(model: Any, **options: Any) -> tuple[Any, Any]:
    """A guide with parameters for every row."""
    return model, PerDatapoint(ROWS, 2, **options)


def exact(model: Any) -> tuple[Any, Any]:
    """The exact posterior."""
    return model, ExactPosterior(model)


def scheduled(schedule: Any, **options: Any) -> dict[str, Any]:
    """Options of a fit with a learning-rate schedule."""
    return {"scheduler": functools.partial(schedule, **options)}


SCHEDULES = torch.optim.lr_scheduler
COMBINATIONS: dict[str, Combination] = {
    "VAE, Amortized, ELBO, Adam": Combination(vae, ELBO),
    "VAE, Amortized, IWAE by DReG, cosine schedule": Combination(
        vae,
        lambda: IWAE(num_particles=3, gradient="dreg"),
        lambda: scheduled(SCHEDULES.CosineAnnealingLR, T_max=8),
    ),
    "VAE, Amortized, ELBO by the score, moving average": Combination(
        vae, lambda: ELBO(gradient="score")
    ),
    "VAE, Amortized, Beta with warm-up, momentum": Combination(
        vae,
        lambda: Beta(warm_up=30),
        lambda: {"optim": functools.partial(torch.optim.SGD, lr=1e-4, momentum=0.9)},
    ),
    "VAE, PerDatapoint, Renyi": Combination(
        lambda: table(VAE(FEATURES, latent=2, hidden=(8,))),
        lambda: Renyi(alpha=0.5, num_particles=3),
        validated=False,
    ),
    "ProbabilisticPCA, PerDatapoint (full), Trace_ELBO, Pyro's ClippedAdam": Combination(
        lambda: table(ProbabilisticPCA(FEATURES, latent=2), family="full"),
        pyro.infer.Trace_ELBO,
        lambda: {"optim": pyro.optim.ClippedAdam({"lr": 1e-2, "lrd": 0.999})},
        validated=False,
    ),
    "GaussianMixture, ExactPosterior, ELBO, plateau schedule, rows with gaps": Combination(
        lambda: exact(GaussianMixture(FEATURES, components=3)),
        ELBO,
        lambda: scheduled(SCHEDULES.ReduceLROnPlateau, patience=0),
        data=MISSING,
    ),
    "VAE, Amortized, IWAE, recorded": Combination(
        vae, lambda: IWAE(num_particles=3), level="traced"
    ),
    "ProbabilisticPCA, PerDatapoint, Renyi, recorded": Combination(
        lambda: table(ProbabilisticPCA(FEATURES, latent=2)),
        lambda: Renyi(alpha=2.0, num_particles=3),
        level="traced",
        validated=False,
    ),
    "VAE, Amortized, ELBO, compiled": Combination(vae, ELBO, level="compiled"),
}


def state(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Everything in the newest checkpoint but the clock: parameters, moments, random states, metrics."""
    newest = CheckpointFolder(folder).manifests()[0]
    tensors, metadata = checkpoint.load(newest.with_suffix(".safetensors"))
    plain = metadata["state"]
    plain.pop("seconds")
    plain.pop("kinds")
    for row in plain["measured"]:
        row["$tuple"].pop(3)  # seconds
    return tensors, plain


def same(one: Path, other: Path) -> bool:
    """Whether two folders end in the same state, to the bit."""
    return equal_states(state(one), state(other))


State = tuple[dict[str, torch.Tensor], dict[str, Any]]


def equal_states(one: State, other: State) -> bool:
    """Whether two states are the same, to the bit."""
    (here, these), (there, those) = one, other
    return (
        these == those
        and here.keys() == there.keys()
        and all(
            tensor.dtype == there[name].dtype
            and tensor.numpy().tobytes() == there[name].numpy().tobytes()
            for name, tensor in here.items()
        )
    )
