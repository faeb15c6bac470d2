r"""Hamiltonian Monte Carlo on many targets at once: one step size and mass for each, many chains for all.

A transition draws a momentum :math:`r \sim N(0, M)`, follows Hamilton's equations by leapfrog steps and
accepts where it ends with probability :math:`\min(1, \exp(H - H'))`,
:math:`H = -\log f(u) + \tfrac12 r^\top M^{-1} r`. Nothing in a transition looks at earlier ones: step
sizes and masses are given, so every transition leaves its target as it is.

Source: MCMC using Hamiltonian dynamics (Neal, 2011).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# (C, B, F) -> the two log-densities that a path goes between, (C, B) each, differentiable.
Ends = Callable[[Tensor], tuple[Tensor, Tensor]]

JITTER = (
    0.2  # each chain's step is scaled by a number drawn from 1 +- this, so that no orbit closes
)


@dataclass(frozen=True)
class State:
    """Where chains are: position (C, B, F), and both ends' log-densities there (C, B)."""

    position: Tensor
    start: Tensor
    end: Tensor

    def log_density(self, beta: Tensor) -> Tensor:
        """(C, B), of the target of each datapoint at its inverse temperature ``beta`` (B,)."""
        return (1.0 - beta) * self.start + beta * self.end

    @property
    def difference(self) -> Tensor:
        """(C, B) float64: end less start, what an annealing step weighs by."""
        return self.end.double() - self.start.double()


def at(ends: Ends, position: Tensor) -> State:
    """The state at a position, without gradients."""
    with torch.no_grad():
        return State(position, *ends(position))


def slope(ends: Ends, position: Tensor, beta: Tensor) -> list[Tensor]:
    """Both log-densities (C, B), and the gradient of the target's, (C, B, F)."""
    with torch.enable_grad():
        free = position.detach().requires_grad_()
        start, end = ends(free)
        total = ((1.0 - beta) * start + beta * end).sum()
        (gradient,) = torch.autograd.grad(total, free)
    # Far out, a density may overflow: no slope there, and the move is refused.
    return [start.detach(), end.detach(), gradient.nan_to_num(0.0, 0.0, 0.0)]


@dataclass(frozen=True)
class WithSlope:
    """Two log-densities with a way of its own, such as a recording, to what `slope` returns."""

    ends: Ends
    slope: Callable[[Tensor, Tensor], list[Tensor]]

    def __call__(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """The two log-densities."""
        return self.ends(position)


def _gradient(ends: Ends, position: Tensor, beta: Tensor) -> tuple[State, Tensor]:
    if isinstance(ends, WithSlope):
        start, end, gradient = ends.slope(position, beta)
    else:
        start, end, gradient = slope(ends, position, beta)
    return State(position.detach(), start, end), gradient


def transition(
    ends: Ends, state: State, beta: Tensor, step: Tensor, precision: Tensor, leapfrogs: int
) -> tuple[State, Tensor]:
    """One transition of every chain.

    Args:
        ends: the two log-densities of the path.
        state: where the chains are.
        beta: (B,), which target between the two ends.
        step: (B,) or (C, B), the leapfrog step of each target.
        precision: (B, F), the mass: about the inverse variance of each target.
        leapfrogs: how many steps.

    Returns:
        Where the chains go, and the probability that each was accepted with, (C, B).
    """
    shape = (*state.start.shape, 1)
    jitter = 1.0 + JITTER * (2.0 * torch.rand(shape, dtype=step.dtype, device=step.device) - 1.0)
    step = step.unsqueeze(-1) * jitter
    momentum = precision.sqrt() * torch.randn_like(state.position)
    before = state.log_density(beta) - 0.5 * (momentum.square() / precision).sum(-1)
    there, gradient = _gradient(ends, state.position, beta)
    for _ in range(leapfrogs):
        momentum = momentum + 0.5 * step * gradient
        there, gradient = _gradient(ends, there.position + step * momentum / precision, beta)
        momentum = momentum + 0.5 * step * gradient
    after = there.log_density(beta) - 0.5 * (momentum.square() / precision).sum(-1)
    accept = (after - before).clamp(max=0.0).exp().nan_to_num(0.0)
    taken = torch.rand_like(accept) < accept
    moved = State(
        torch.where(taken[..., None], there.position, state.position),
        torch.where(taken, there.start, state.start),
        torch.where(taken, there.end, state.end),
    )
    return moved, accept
