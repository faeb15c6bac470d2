"""Which latent dimensions carry anything about x."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pyrovae.programs import Program
from pyrovae.registry.plain import whole_number
from pyrovae.sampling.posterior import as_vectors, posterior_draws
from pyrovae.sampling.rows import as_rows

ACTIVE = 0.01  # the variance above which Burda et al. count a unit


def unit_activity(
    guide: Program, x: Tensor, *, num_particles: int = 100, seed: int = 0, **kwargs: Any
) -> Tensor:
    r"""How much the posterior mean of each latent dimension moves over datapoints.

    .. math:: A_u = \operatorname{Var}_x \left( E_{q(z \mid x)} z_u \right)

    The mean is taken over draws, whose own spread is taken out of the variance again.

    Args:
        guide: q(z | x).
        x: (B, D).
        num_particles: K, draws per datapoint.
        seed: of the draws.
        **kwargs: keyword arguments of the guide.

    Returns:
        (L,), float64, in squared units of z; may be a little below 0 where nothing moves.

    Source: Importance weighted autoencoders (Burda, Grosse & Salakhutdinov, 2016), section 5.2.

    How to read it: near 0 where the guide says the same for every x; see `active_units`.

    Example:
        >>> import torch
        >>> from pyrovae.guides import Amortized
        >>> unit_activity(Amortized(5, 2), torch.randn(20, 5)).shape
        torch.Size([2])
    """
    x = as_rows(x, guide)
    whole_number("num_particles", num_particles, least=2)
    if len(x) < 2:
        raise ValueError(f"x has {len(x)} row: at least two are needed, whose means can differ")
    values = posterior_draws(guide, x, num_particles=num_particles, seed=seed, **kwargs)
    z = as_vectors(values, len(x)).double()
    return z.mean(0).var(0) - z.var(0).mean(0) / num_particles


def active_units(
    guide: Program, x: Tensor, *, num_particles: int = 100, seed: int = 0, **kwargs: Any
) -> int:
    """How many latent dimensions have a `unit_activity` above 0.01, and so carry something about x.

    Example:
        >>> import torch
        >>> from pyrovae.guides import PerDatapoint
        >>> active_units(PerDatapoint(20, 2), torch.randn(20, 5))
        0
    """
    found = unit_activity(guide, x, num_particles=num_particles, seed=seed, **kwargs)
    return int((found > ACTIVE).sum())
