"""Filling in missing values: once by their expectation, or several times by draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.enum_messenger import EnumMessenger
from torch import Tensor

from pyrovae.densities.incomplete import conditional_draw, conditional_mean
from pyrovae.log_weights import refuse_shared
from pyrovae.programs import Program, own_parameters
from pyrovae.registry.plain import whole_numbers
from pyrovae.sampling.rows import as_rows
from pyrovae.waist.handlers import ParticlePlate
from pyrovae.waist.reduction import reduce_traces
from pyrovae.waist.sites import Layout, find_layout


def impute(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    num_particles: int = 1000,
    chunk_size: int = 100,
    seed: int = 0,
) -> Tensor:
    r"""Put the expectation of each missing value, given what is observed of its row, in its place.

    .. math:: E[x_m \mid x_o] \approx \sum_k \tilde w_k \, E[x_m \mid x_o, z_k], \qquad
              \tilde w_k \propto \frac{p(x_o, z_k)}{q(z_k \mid x_o)}

    Args:
        model: p(x, z), with the observed site ``"x"``.
        guide: q(z | x).
        x: (B, D), in which NaN is missing.
        num_particles: K, draws of z for each row.
        chunk_size: how many of them at once.
        seed: of the draws; the global random state is left as it was.

    Returns:
        (B, D), in units of x: ``x`` itself where it is observed.

    Raises:
        ValueError: a number of particles below 1, a discrete latent that the guide leaves out, or a latent
            that all rows share.

    Source: MIWAE: deep generative modelling and imputation of incomplete data sets (Mattei & Frellsen,
    2019), its single imputation by self-normalised importance sampling.

    How to read it: of all single imputations the one with the least squared error, if the model is right;
    it shows no uncertainty and is no typical value: see `impute_many`.

    Example:
        >>> from pyrovae.guides import ExactPosterior
        >>> from pyrovae.models import ProbabilisticPCA
        >>> model = ProbabilisticPCA(3, latent=1)
        >>> x = torch.tensor([[1.0, 2.0, torch.nan]])
        >>> impute(model, ExactPosterior(model), x).isnan().any()
        tensor(False)
    """
    x = as_rows(x, model, guide)
    mean = _Mean()
    for run in _runs(model, guide, x, num_particles, chunk_size, seed):
        mean.add(run.log_weights, conditional_mean(run.likelihood, x))
    return torch.where(x.isnan(), mean.result(), x)


def impute_many(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    num_imputations: int = 20,
    num_particles: int = 1000,
    chunk_size: int = 100,
    seed: int = 0,
) -> Tensor:
    r"""Fill in the missing values several times, by draws given what is observed of each row.

    .. math:: z^{(m)} \sim \sum_k \tilde w_k \, \delta_{z_k}, \qquad x_m^{(m)} \sim p(x_m \mid x_o, z^{(m)})

    Args:
        model: p(x, z), with the observed site ``"x"``.
        guide: q(z | x).
        x: (B, D), in which NaN is missing.
        num_imputations: M, how many times.
        num_particles: K, draws of z for each row, among which M are chosen.
        chunk_size: how many of them at once.
        seed: of the draws; the global random state is left as it was.

    Returns:
        (M, B, D), in units of x: ``x`` itself where it is observed.

    Raises:
        ValueError: a number below 1, a discrete latent that the guide leaves out, or a latent that all rows
            share.

    Source: MIWAE: deep generative modelling and imputation of incomplete data sets (Mattei & Frellsen,
    2019), its multiple imputation by sampling importance resampling.

    How to read it: the spread over M is the uncertainty of each missing value; whatever is computed from
    the data is computed M times, and its spread says what the missing values cost.

    Example:
        >>> from pyrovae.guides import ExactPosterior
        >>> from pyrovae.models import ProbabilisticPCA
        >>> model = ProbabilisticPCA(3, latent=1)
        >>> x = torch.tensor([[1.0, 2.0, torch.nan]])
        >>> impute_many(model, ExactPosterior(model), x, num_imputations=4).shape
        torch.Size([4, 1, 3])
    """
    x = as_rows(x, model, guide)
    whole_numbers(num_imputations=num_imputations)
    chosen = _Chosen(num_imputations, x)
    for run in _runs(model, guide, x, num_particles, chunk_size, seed):
        chosen.add(run.log_weights, partial(conditional_draw, run.likelihood, x))
    return chosen.values


@dataclass(frozen=True)
class _Run:
    """K particles: their log-weights (K, B), and p(x | z) of batch shape (K, B)."""

    log_weights: Tensor
    likelihood: Any


def _runs(
    model: Program, guide: Program, x: Tensor, num_particles: int, chunk_size: int, seed: int
) -> Iterator[_Run]:
    whole_numbers(num_particles=num_particles, chunk_size=chunk_size)
    if x.dim() != 2:
        raise ValueError(
            f"x has the shape {tuple(x.shape)}, but values are filled in by rows and columns, (B, D): for "
            "rows of one number let the model observe x of the shape (B, 1)"
        )
    layout = find_layout(model, guide, (x,), {})
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        for start in range(0, num_particles, chunk_size):
            yield _run(model, guide, x, min(chunk_size, num_particles - start), layout)


def _run(model: Program, guide: Program, x: Tensor, count: int, layout: Layout) -> _Run:
    guide_run, model_run = guide, model
    if layout.enumerated:
        guide_run = EnumMessenger(layout.particle_dim - 1)(guide)
        model_run = EnumMessenger()(model)
    with own_parameters():
        with ParticlePlate(count, layout):
            drawn = poutine.trace(guide_run).get_trace(x)
        replayed = poutine.trace(poutine.replay(model_run, trace=drawn)).get_trace(x)
    if "x" not in replayed.nodes:
        raise ValueError('the model has no observed site "x", whose missing values could be filled')
    left = (
        [
            name
            for name, site in replayed.nodes.items()
            if name not in drawn.nodes and site["infer"].get("_enumerate_dim") is not None
        ]
        if layout.enumerated
        else []
    )
    if left:
        raise ValueError(
            f"the guide leaves the discrete latent {left[0]!r} out, so that no draw says what x is: use a "
            "guide that has it, such as guides.ExactPosterior"
        )
    particles = reduce_traces(replayed, drawn, count, layout, linear=False, detached=True, draws={})
    refuse_shared(particles, layout)
    # Each value of an enumerated site is a particle with its own weight.
    terms = particles.log_terms
    site: Any = replayed.nodes["x"]
    return _Run(terms, _of_each_particle(site["fn"], terms.shape, layout))


def _of_each_particle(likelihood: Any, shape: torch.Size, layout: Layout) -> Any:
    """p(x | z) with the dimensions of particles and rows, which it lacks where it does not depend on z."""
    right = len(likelihood.batch_shape) + 1 + layout.dim
    rows, inner = likelihood.batch_shape[:right], likelihood.batch_shape[right:]
    if len(rows) >= len(shape) and rows.numel() == shape.numel():
        return likelihood
    return likelihood.expand(shape + inner)


class _Mean:
    """The weighted mean over particles, in one pass over chunks."""

    def __init__(self) -> None:
        self.log_total: Tensor | None = None
        self.mean: Tensor | None = None

    def add(self, log_weights: Tensor, values: Tensor) -> None:
        """Take in a chunk: (..., k, B) and (..., k, B, D)."""
        log_weights = log_weights.flatten(end_dim=-2)
        values = values.flatten(end_dim=-3).to(log_weights)  # data may be whole numbers
        log_sum = log_weights.logsumexp(0)
        weights = (log_weights - _above_zero(log_sum)).exp()
        mean = torch.einsum("kb,kbd->bd", weights, values)
        if self.log_total is None or self.mean is None:
            self.log_total, self.mean = log_sum, mean
            return
        total = torch.logaddexp(self.log_total, log_sum)
        share = (log_sum - _above_zero(total)).exp().unsqueeze(-1)
        self.mean, self.log_total = (1.0 - share) * self.mean + share * mean, total

    def result(self) -> Tensor:
        """(B, D); NaN where every weight was zero."""
        if self.mean is None or self.log_total is None:
            raise ValueError("no particles were added")
        return self.mean.masked_fill(self.log_total.isneginf().unsqueeze(-1), torch.nan)


def _above_zero(log_sum: Tensor) -> Tensor:
    """The logarithm of weights, of which something finite can be subtracted where all of them are zero."""
    return log_sum.clamp(min=torch.finfo(log_sum.dtype).min)


class _Chosen:
    """Particles chosen with the probability of their weights, in one pass: the largest of noisy weights."""

    def __init__(self, count: int, x: Tensor) -> None:
        self.values = x.expand(count, *x.shape)
        self.best = torch.full(self.values.shape[:-1], -torch.inf, device=x.device)

    def add(self, log_weights: Tensor, draw: Callable[[], Tensor]) -> None:
        """Take in a chunk: (..., k, B), and what draws x given each, (..., k, B, D)."""
        log_weights = log_weights.flatten(end_dim=-2)
        count, rows = len(self.best), torch.arange(log_weights.shape[1], device=log_weights.device)
        noise = -torch.empty(count, *log_weights.shape).to(log_weights).exponential_().log()
        score, index = (log_weights + noise).max(1)
        left = score > self.best
        self.best = torch.where(left, score, self.best)
        order = torch.arange(count, device=index.device)[:, None].expand_as(index)
        # A particle that is chosen more than once has a draw of x for each.
        while left.any():
            first = torch.full_like(log_weights, count, dtype=order.dtype)
            first = first.scatter_reduce(0, index, order.where(left, count), "amin")
            now = left & (first.gather(0, index) == order)
            here = draw().flatten(end_dim=-3)[index, rows]
            self.values = torch.where(now.unsqueeze(-1), here, self.values)
            left = left & ~now
