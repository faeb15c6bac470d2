"""Importance sampling with any guide."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pyrovae.programs import Program
from pyrovae.registry.plain import whole_numbers
from pyrovae.sampling.evidence_result import Evidence
from pyrovae.sampling.moments import LogMoments
from pyrovae.sampling.particle_blocks import score
from pyrovae.sampling.rows import as_rows


class ImportanceSampling:
    r"""Importance sampling: the mean of the weights of K draws from the guide.

    .. math:: \hat p(x) = \frac{1}{K} \sum_{k=1}^{K} w_k, \qquad
              \text{se}(\log \hat p) \approx \frac{\text{sd}(w)}{\sqrt{K}\, \hat p(x)}

    Args:
        num_particles: K, draws per datapoint.
        chunk_size: how many are scored at once, which bounds the memory; chosen by the size of the batch
            if None. Every chunk size has the same draws, exactly K of them.
        keep: whether to return the log-weights too, (K, B).

    Raises:
        ValueError: K or the chunk size below 1, or programs that have no weight per datapoint.

    Source: Monte Carlo theory, methods and examples (Owen, 2013), chapter 9; Importance weighted
    autoencoders (Burda, Grosse & Salakhutdinov, 2016) for its use on VAEs.

    How to read it: the mean weight is unbiased for p(x), so its logarithm is biased low; where the
    standard error is not small, or k-hat is large, log p(x) may be much higher than the estimate.

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.guides import ExactPosterior
        >>> model = ProbabilisticPCA(5, latent=2)
        >>> estimate = ImportanceSampling(num_particles=7)(model, ExactPosterior(model), torch.zeros(3, 5))
        >>> torch.allclose(estimate.value.float(), model.exact_log_evidence(torch.zeros(3, 5)))
        True
    """

    def __init__(
        self, *, num_particles: int = 1000, chunk_size: int | None = None, keep: bool = False
    ) -> None:
        whole_numbers(num_particles=num_particles)
        if chunk_size is not None:
            whole_numbers(chunk_size=chunk_size)
        self.num_particles = num_particles
        self.chunk_size = chunk_size
        self.keep = keep

    def __call__(
        self, model: Program, guide: Program, x: Tensor, *, seed: int = 0, **kwargs: Any
    ) -> Evidence:
        """Estimate log p(x) of each row of ``x`` (B, D); the draws are a function of ``seed``."""
        x = as_rows(x, model, guide)
        total = LogMoments(keep=self.keep)
        score(
            model,
            guide,
            x,
            kwargs,
            total.add,
            num_particles=self.num_particles,
            chunk_size=self.chunk_size,
            seed=seed,
        )
        return total.evidence(self.num_particles)
