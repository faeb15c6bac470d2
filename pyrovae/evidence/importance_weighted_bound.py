"""The importance-weighted bound, and its curve over the number of particles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrovae.programs import Program
from pyrovae.sampling.evidence_result import Curve, Evidence
from pyrovae.sampling.particle_blocks import score
from pyrovae.sampling.rows import as_rows
from pyrovae.surrogates.bounds import log_mean_exp


class ImportanceWeightedBound:
    r"""The importance-weighted bound, and its curve over the number of particles.

    .. math:: \mathcal{L}_K = E \log \frac{1}{K} \sum_{k=1}^{K} w_k, \qquad
              \mathcal{L}_1 \le \mathcal{L}_2 \le \dots \le \log p(x)

    Each point of the curve is a mean over disjoint groups of the same draws, so the whole curve costs no
    more than its last point.

    Args:
        num_particles: K of the bound that is returned; the curve has 1, 2, 4, ... up to it.
        repeats: how many groups of K are drawn; the standard error is that of their mean.
        chunk_size: how many draws are scored at once; chosen by the size of the batch if None.
        keep: whether to return the log-weights too, (K * repeats, B).

    Raises:
        ValueError: K or the chunk size below 1, fewer than two repeats, or programs that have no weight
            per datapoint.

    Source: Importance weighted autoencoders (Burda, Grosse & Salakhutdinov, 2016).

    How to read it: the first point is the ELBO, with what the guide enumerates summed out. Where the curve
    still rises at its end, log p(x) is higher; where it is flat from the start, the guide is close to the
    posterior.

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.guides import Amortized
        >>> bound = ImportanceWeightedBound(num_particles=8, repeats=2)
        >>> bound(ProbabilisticPCA(5, latent=2), Amortized(5, 2), torch.zeros(3, 5)).curve.num_particles
        tensor([1, 2, 4, 8])
    """

    def __init__(
        self,
        *,
        num_particles: int = 64,
        repeats: int = 16,
        chunk_size: int | None = None,
        keep: bool = False,
    ) -> None:
        if num_particles < 1 or repeats < 2 or (chunk_size is not None and chunk_size < 1):
            raise ValueError(
                f"num_particles is {num_particles}, repeats {repeats} and chunk_size {chunk_size}: there "
                "must be at least one particle in at least two groups, and one in a chunk"
            )
        self.num_particles = num_particles
        self.repeats = repeats
        self.chunk_size = chunk_size
        self.keep = keep

    def __call__(
        self, model: Program, guide: Program, x: Tensor, *, seed: int = 0, **kwargs: Any
    ) -> Evidence:
        """Estimate the bound of each row of ``x`` (B, D); the draws are a function of ``seed``."""
        x = as_rows(x, model, guide)
        drawn: list[Tensor] = []
        total = self.num_particles * self.repeats
        score(
            model,
            guide,
            x,
            kwargs,
            drawn.append,
            num_particles=total,
            chunk_size=self.chunk_size,
            seed=seed,
        )
        log_weights = torch.cat(drawn).double()
        curve = importance_weighted_curve(log_weights, self.num_particles)
        kept = log_weights if self.keep else None
        return Evidence(curve.value[-1], curve.standard_error[-1], total, kept, curve)


def importance_weighted_curve(log_weights: Tensor, largest: int) -> Curve:
    """The bound at 1, 2, 4, ... and ``largest`` particles from log-weights (draws, B).

    Raises:
        ValueError: too few draws for two groups of the largest.
    """
    if len(log_weights) < 2 * largest:
        raise ValueError(
            f"{len(log_weights)} draws make fewer than two groups of {largest}: draw more, or ask for less"
        )
    sizes = sorted({2**i for i in range(largest.bit_length()) if 2**i <= largest} | {largest})
    values, errors = [], []
    for size in sizes:
        groups = len(log_weights) // size
        bounds = log_mean_exp(log_weights[: groups * size].unflatten(0, (groups, size)), dim=1)
        values.append(bounds.mean(0))
        errors.append(bounds.std(0) / groups**0.5)
    return Curve(torch.tensor(sizes), torch.stack(values), torch.stack(errors))
