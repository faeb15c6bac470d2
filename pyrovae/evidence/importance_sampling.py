"""Importance sampling with any guide."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyrovae.evidence_result import Evidence
from pyrovae.log_weights import run_particles
from pyrovae.programs import Program
from pyrovae.sites import find_layout


class ImportanceSampling:
    r"""Importance sampling: the mean of the weights of K draws from the guide.

    .. math:: \hat p(x) = \frac{1}{K} \sum_{k=1}^{K} w_k, \qquad
              \text{se}(\log \hat p) \approx \frac{\text{sd}(w)}{\sqrt{K}\, \hat p(x)}

    Args:
        num_particles: K, draws per datapoint.
        chunk_size: how many are drawn at once, which bounds the memory; 100 by default. Every K and every
            chunk size draws exactly K.
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
        self, *, num_particles: int = 1000, chunk_size: int = 100, keep: bool = False
    ) -> None:
        if num_particles < 1 or chunk_size < 1:
            raise ValueError(
                f"num_particles is {num_particles} and chunk_size {chunk_size}: each must be at least 1"
            )
        self.num_particles = num_particles
        self.chunk_size = min(chunk_size, num_particles)
        self.keep = keep

    @torch.no_grad()
    def __call__(
        self, model: Program, guide: Program, x: Tensor, *, seed: int = 0, **kwargs: Any
    ) -> Evidence:
        """Estimate log p(x) of each row of ``x`` (B, D); the draws are a function of ``seed``."""
        layout = find_layout(model, guide, (x,), kwargs)
        kept: list[Tensor] = []
        total = LogMoments()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for start in range(0, self.num_particles, self.chunk_size):
                count = min(self.chunk_size, self.num_particles - start)
                log_weights = run_particles(
                    model, guide, (x,), kwargs, num_particles=count, layout=layout
                ).log_weights
                total.add(log_weights)
                if self.keep:
                    kept.append(log_weights)
        value, error = total.result()
        return Evidence(value, error, self.num_particles, torch.cat(kept) if self.keep else None)


class LogMoments:
    """Log-mean-exp of log-weights and its standard error, in float64, in one pass over chunks."""

    def __init__(self) -> None:
        self.count = 0
        self.log_sum: Tensor | None = None
        self.log_sum_squares: Tensor | None = None

    def add(self, log_weights: Tensor) -> None:
        """Take in a chunk (k, B)."""
        log_weights = log_weights.double()
        self.count += len(log_weights)
        log_sum, log_squares = log_weights.logsumexp(0), (2.0 * log_weights).logsumexp(0)
        if self.log_sum is None or self.log_sum_squares is None:
            self.log_sum, self.log_sum_squares = log_sum, log_squares
        else:
            self.log_sum = torch.logaddexp(self.log_sum, log_sum)
            self.log_sum_squares = torch.logaddexp(self.log_sum_squares, log_squares)

    def result(self) -> tuple[Tensor, Tensor]:
        """Log of the mean weight (B,), and its standard error by the delta method (B,), in nats."""
        if self.log_sum is None or self.log_sum_squares is None:
            raise ValueError("no log-weights were added")
        value = self.log_sum - math.log(self.count)
        if self.count == 1:
            return value, torch.full_like(value, math.inf)
        # Relative variance of the weights: E w^2 / (E w)^2 - 1, never below 0 by rounding.
        relative = (
            (self.log_sum_squares - math.log(self.count) - 2.0 * value).expm1().clamp(min=0.0)
        )
        return value, (relative / (self.count - 1)).sqrt()
