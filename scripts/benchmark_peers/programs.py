"""The programs of this package that a workload names."""

from __future__ import annotations

from typing import Any

from data import bit_pixels
from workloads import Workload

from pyrovae.guides import Amortized
from pyrovae.models import VAE, GaussianMixture


def make(w: Workload) -> tuple[Any, Any]:
    """Model and guide."""
    if w.components:
        mixture = GaussianMixture(w.features, components=w.components)
        return mixture.to(w.device), lambda x: None
    likelihood: Any = "bernoulli" if bit_pixels(w) else "gaussian"
    model = VAE(w.features, latent=w.latent, hidden=w.hidden[::-1], likelihood=likelihood)
    guide = Amortized(w.features, w.latent, hidden=w.hidden)
    return model.to(w.device), guide.to(w.device)
