"""What a site contributes to a datapoint: its log-probability, with its mask, and with or without a scale."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from pyrovae.waist.sites import Site, frames_scale


def scale_beside(site: Site, plates: tuple[str, ...]) -> float | Tensor:
    """What multiplies the log-probability of a site beside the scale of some plates."""
    scale: float | Tensor = site["scale"] / frames_scale(site, plates)
    if isinstance(scale, Tensor):
        return scale
    return 1.0 if abs(scale - 1.0) < 1e-9 else float(scale)


def density_of(site: Site) -> Tensor:
    """Return the log-density that a site's value was drawn from, without its mask and scale."""
    log_prob: Tensor = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    return log_prob


def masked_log_prob(site: Site) -> Tensor:
    """Return the masked log-probability of a site, without any scale."""
    log_prob = density_of(site)
    return log_prob if site["mask"] is None else scale_and_mask(log_prob, mask=site["mask"])


def log_prob_of(name: str, site: Site, *, plates: tuple[str, ...], linear: bool) -> Tensor:
    """Return the masked log-probability of a site, free of the scale of ``plates``.

    Any other scale (``poutine.scale``, a subsampled plate inside a datapoint) multiplies it where the
    bound is linear in the log-weights.
    """
    scale = allowed_scale(name, site, plates=plates, linear=linear)
    log_prob = masked_log_prob(site)
    return log_prob if isinstance(scale, float) and scale == 1.0 else log_prob * scale


def allowed_scale(
    name: str, site: Site, *, plates: tuple[str, ...], linear: bool
) -> float | Tensor:
    """Return what multiplies a site's log-probability beside the scale of ``plates``.

    It is refused where the bound is not linear in the log-weights: under an exponential it would turn a
    weight into a power of a weight.

    Raises:
        ValueError: a scale that a bound of several particles cannot take.
    """
    scale = scale_beside(site, plates)
    if linear or (isinstance(scale, float) and scale == 1.0):
        return scale
    raise ValueError(
        f"the site {name!r} has a scale of {float(torch.as_tensor(scale).mean()):g} inside its datapoint "
        "(from poutine.scale or a subsampled inner plate), and a log-weight with a scale in it is no "
        "log-weight: take the scale away, use the whole inner plate, use objectives.Beta to weigh the "
        "prior, or use objectives.ELBO, where a scale weighs a term of the bound"
    )


def has_path(site: Site) -> bool:
    """Whether draws of a site carry a gradient to its parameters."""
    return bool(getattr(site["fn"], "has_rsample", False))


def is_point(distribution: Any) -> bool:
    """Whether a site is made of earlier ones and of parameters, without noise of its own."""
    while not isinstance(distribution, Delta) and hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    return isinstance(distribution, Delta)
