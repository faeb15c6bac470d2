"""Numerical integration over one or two latent dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyrovae.programs import Program, own_parameters
from pyrovae.sampling.evidence_result import Evidence
from pyrovae.sampling.flat import Flat, flat_of
from pyrovae.sampling.rows import as_rows
from pyrovae.waist.joint import density, draws
from pyrovae.waist.sites import Layout, find_layout

PRIOR_DRAWS = 100  # that say where the first grid lies
FIRST_HALF_WIDTH = 10.0  # of the first grid, in standard deviations of the prior
NEGLIGIBLE = 60.0  # nats below the top at which a cell of a grid is left out of the next
ZOOMS = 6
SETTLED = 1e-3  # nats between a grid and every second of its points, above which it is made finer
UNSEEN = 0.1  # nats between them above which single points are all that a grid has of a peak
MOST = 200_000  # points of the finest grid
AT_ONCE = 2_000_000  # grid points x datapoints evaluated at once


class Quadrature:
    r"""Numerical integration over a grid, which zooms in on where each datapoint's posterior is.

    .. math:: p(x) \approx h^L \sum_{i} p(x, z_i)

    The trapezoidal rule, whose error for smooth densities that vanish at the edge falls exponentially
    with the number of points.

    Args:
        points: grid points along each latent dimension; odd. Twice as many are taken, up to 200,000 in all,
            as long as the answer has not settled to 0.001 nats.

    Raises:
        ValueError: a model with no or more than two continuous latent dimensions per datapoint, with masked
            ones, or with one whose support depends on the other; fewer than 5 points.

    Source: The exponentially convergent trapezoidal rule (Trefethen & Weideman, 2014).

    How to read it: an answer without sampling noise. The standard error is the difference to the grid of
    every second point: where it is not tiny, a posterior is too sharp, or has too many modes, for the grid.
    It is infinite where the two differ by more than 0.1 nats, and the value then says nothing.

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> model, x = ProbabilisticPCA(5, latent=2).double(), torch.zeros(3, 5, dtype=torch.float64)
        >>> bool((Quadrature()(model, None, x).value - model.exact_log_evidence(x)).abs().max() < 1e-9)
        True
    """

    def __init__(self, *, points: int = 101) -> None:
        if points < 5 or points % 2 == 0:
            raise ValueError(f"points is {points}: an odd number of at least 5 is needed")
        self.points = points

    @torch.no_grad()
    def __call__(
        self, model: Program, guide: Program | None, x: Tensor, *, seed: int = 0, **kwargs: Any
    ) -> Evidence:
        """Integrate p(x, z) over z for each row of ``x`` (B, D); the guide is not used."""
        x = as_rows(x, model, guide)
        layout = find_layout(model, None, (x,), kwargs)
        with torch.random.fork_rng(), own_parameters():
            torch.manual_seed(seed)
            flat, _ = flat_of(model, (x,), kwargs, layout, integrated=True)
            if flat.size not in (1, 2):
                raise ValueError(
                    f"this model has {flat.size} continuous latent dimensions per datapoint: a grid is for "
                    "one or two; use evidence.AnnealedImportanceSampling or evidence.ImportanceSampling"
                )
            example = draws(model, (x,), kwargs, num_particles=PRIOR_DRAWS, layout=layout)
            grid = _Grid(model, (x,), kwargs, layout, flat, self.points)
            prior = flat.pack(example.values).double()
            reach = FIRST_HALF_WIDTH * prior.std(0)
            box = torch.stack([prior.mean(0) - reach, prior.mean(0) + reach], -1)
            for _ in range(ZOOMS):
                box = grid.zoom(box)
            value, error = grid.integrate(box)
            cost = (ZOOMS + 1) * self.points**flat.size
            while error.max() > SETTLED and (finer := 2 * grid.points - 1) ** flat.size <= MOST:
                grid = replace(grid, points=finer)
                value, error = grid.integrate(box)
                cost += finer**flat.size
        return Evidence(value, torch.where(error > UNSEEN, math.inf, error), cost)


@dataclass
class _Grid:
    """A grid of ``points`` along each dimension of a box for each datapoint, (B, L, 2)."""

    model: Program
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    layout: Layout
    flat: Flat
    points: int

    def _axes(self, box: Tensor) -> Tensor:
        """(points, B, L)."""
        steps = torch.linspace(0, 1, self.points, dtype=torch.float64, device=box.device)
        return box[..., 0] + steps[:, None, None] * (box[..., 1] - box[..., 0])

    def log_density(self, box: Tensor) -> Tensor:
        """Log p(x, z) at the grid, float64: (points, B) or (points, points, B)."""
        axes = self._axes(box)
        z = axes
        if self.flat.size == 2:
            shape = (self.points, self.points, len(box))
            first, second = axes[:, None, :, 0].expand(shape), axes[None, :, :, 1].expand(shape)
            z = torch.stack([first, second], -1).flatten(0, 1)
        found = []
        for some in z.split(max(1, AT_ONCE // max(1, z.shape[1]))):
            values, log_det = self.flat.unpack(some)
            joint = density(self.model, values, self.args, self.kwargs, layout=self.layout).joint
            found.append((joint + log_det).double())
        return torch.cat(found).unflatten(0, (self.points,) * self.flat.size)

    def zoom(self, box: Tensor) -> Tensor:
        """The box around all cells that count, with a cell to spare on each side."""
        log_density = self.log_density(box)
        dims = list(range(self.flat.size))
        reached = log_density + _rise(log_density, dims)
        counts = reached > log_density.amax(dims) - NEGLIGIBLE
        width = (box[..., 1] - box[..., 0]) / (self.points - 1)
        edges = []
        for dim in dims:
            along = counts.any(1 - dim) if len(dims) == 2 else counts  # (points, B)
            first = along.int().argmax(0)
            last = self.points - 1 - along.flip(0).int().argmax(0)
            low = box[:, dim, 0] + (first - 1) * width[:, dim]
            edges.append(torch.stack([low, low + (last - first + 2) * width[:, dim]], -1))
        return torch.stack(edges, 1)

    def integrate(self, box: Tensor) -> tuple[Tensor, Tensor]:
        """Log of the integral (B,), and how far that from every second point is off."""
        log_density = self.log_density(box)
        dims = list(range(self.flat.size))
        log_cell = ((box[..., 1] - box[..., 0]) / (self.points - 1)).log().sum(-1)
        every_second = log_density[(slice(None, None, 2),) * self.flat.size]
        coarse = every_second.logsumexp(dims) + log_cell + self.flat.size * math.log(2.0)
        value = log_density.logsumexp(dims) + log_cell
        return value, (value - coarse).abs()


def _rise(log_density: Tensor, dims: list[int]) -> Tensor:
    """How far above a maximum of the grid a peak may stand that lies between its points; 0 elsewhere.

    A parabola through the maximum and its neighbours rises by an eighth of their second difference at most.
    Twice that is taken: of two sharp modes the one that the grid happens to miss must not be left out.
    """
    rise, peak = torch.zeros_like(log_density), log_density.isfinite()
    for dim in dims:
        count = log_density.shape[dim]
        first, last = log_density.narrow(dim, 0, 1), log_density.narrow(dim, count - 1, 1)
        before = torch.cat([first, log_density.narrow(dim, 0, count - 1)], dim)
        after = torch.cat([log_density.narrow(dim, 1, count - 1), last], dim)
        peak = peak & (log_density >= before) & (log_density >= after)
        rise = rise + 0.25 * (2.0 * log_density - before - after)
    return torch.where(peak, rise, 0.0)
