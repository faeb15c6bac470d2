"""The programs of this package that a workload names, and how they are trained."""

from __future__ import annotations

import functools
from typing import Any

import torch
from data import bit_pixels
from workloads import Workload

from pyrovae import SVI
from pyrovae.guides import Amortized
from pyrovae.models import VAE, GaussianMixture
from pyrovae.objectives import ELBO, IWAE
from pyrovae.step.policy import Level


def make(w: Workload) -> tuple[Any, Any]:
    """Model and guide."""
    if w.components:
        mixture = GaussianMixture(w.features, components=w.components)
        return mixture.to(w.device), lambda x: None
    likelihood: Any = "bernoulli" if bit_pixels(w) else "gaussian"
    model = VAE(w.features, latent=w.latent, hidden=w.hidden[::-1], likelihood=likelihood)
    guide = Amortized(w.features, w.latent, hidden=w.hidden)
    return model.to(w.device), guide.to(w.device)


def objective(w: Workload) -> ELBO | IWAE:
    """The bound of one or of several particles."""
    return ELBO() if w.particles == 1 else IWAE(num_particles=w.particles)


def training(w: Workload, level: Level, dtype: torch.dtype = torch.float32) -> SVI:
    """Of its programs at one level, from its seed."""
    torch.manual_seed(w.seed)
    model, guide = (part.to(dtype) if hasattr(part, "to") else part for part in make(w))
    adam = functools.partial(torch.optim.Adam, lr=1e-3)
    return SVI(model, guide, adam, objective(w), level=level)
