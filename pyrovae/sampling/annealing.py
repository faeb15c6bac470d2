r"""Annealing: chains that follow a path of densities from one that can be drawn from to the posterior.

.. math:: f_\beta(u) = f_0(u)^{1 - \beta} f_1(u)^\beta, \qquad
          \log w = \sum_{t=1}^{T} (\beta_t - \beta_{t-1}) \log \frac{f_1(u_{t-1})}{f_0(u_{t-1})}

From a draw of :math:`f_0` upwards, :math:`E w = p(x)`; from an exact draw of the posterior downwards,
:math:`E w^{-1} = p(x)^{-1}`. Both hold only if nothing in a chain depends on its own past, so step
sizes and masses are found by pilot chains, and are then frozen.

Source: Annealed importance sampling (Neal, 2001); Sandwiching the marginal likelihood using
bidirectional Monte Carlo (Grosse, Ghahramani & Adams, 2015); On the quantitative analysis of
decoder-based generative models (Wu, Burda, Salakhutdinov & Grosse, 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.sampling.hmc import Ends, State, at, transition

TARGET = 0.7  # the share of moves to be accepted
FIRST_STEP = 0.3
WARM_UP = 30  # pilot transitions at the start, where the step has yet to be found
APART = 20  # transitions after which chains from one draw are taken as independent
KEPT = 0.3  # the share of temperatures that stay where the pilots had theirs
GAIN = 0.5  # how fast a pilot's log step follows its acceptance


@dataclass(frozen=True)
class Path:
    """What pilot chains found, frozen: for each datapoint its temperatures, steps and masses.

    Attributes:
        betas: (T + 1, B), from 0 to 1.
        steps: (T + 1, B), leapfrog steps.
        start_precision: (B, F), the mass at the start.
        end_precision: (B, F), the mass at the end.
        cost: gradients per datapoint that the pilots took.
    """

    betas: Tensor
    steps: Tensor
    start_precision: Tensor
    end_precision: Tensor
    cost: int = 0

    @property
    def temperatures(self) -> int:
        """T."""
        return len(self.betas) - 1

    def precision(self, t: int) -> Tensor:
        """(B, F), between the two ends as that of a normal would be."""
        beta = self.betas[t][:, None]
        return (1.0 - beta) * self.start_precision + beta * self.end_precision

    def move(self, ends: Ends, state: State, t: int, leapfrogs: int) -> tuple[State, Tensor]:
        """One transition at temperature ``t``."""
        return transition(ends, state, self.betas[t], self.steps[t], self.precision(t), leapfrogs)


def check_counts(
    chains: int, temperatures: int, leapfrogs: int, pilot_chains: int, pilot_temperatures: int
) -> None:
    """Refuse numbers of chains and temperatures with which there is nothing to anneal or to tune."""
    if min(chains, temperatures, leapfrogs, pilot_temperatures) < 1 or pilot_chains < 2:
        raise ValueError(
            f"chains is {chains}, temperatures {temperatures}, leapfrogs {leapfrogs}, pilot_chains "
            f"{pilot_chains} and pilot_temperatures {pilot_temperatures}: there must be at least one of "
            "each, and two pilot chains"
        )


def sigmoid_betas(temperatures: int, radius: float = 4.0) -> Tensor:
    """(T + 1,) inverse temperatures from 0 to 1, densest at both ends.

    Example:
        >>> sigmoid_betas(2).tolist()
        [0.0, 0.5, 1.0]
    """
    rise = torch.linspace(-radius, radius, temperatures + 1, dtype=torch.float64).sigmoid()
    return (rise - rise[0]) / (rise[-1] - rise[0])


def tune(
    ends: Ends, position: Tensor, leapfrogs: int, *, pilot_temperatures: int, temperatures: int
) -> Path:
    """Find temperatures, steps and masses with pilot chains that are then thrown away.

    Two passes: the first finds how wide the posterior is in each dimension and where on the path the
    weights spread most, the second goes that way and finds the steps. Temperatures are put where each
    adds as much spread to the log-weights as the next.

    Args:
        ends: the two log-densities of the path.
        position: (C, B, F), draws of the start.
        leapfrogs: leapfrog steps in a transition.
        pilot_temperatures: T of the pilots.
        temperatures: T of the path that is returned.
    """
    rows = position.shape[1]
    precision = _precision(position)
    betas = sigmoid_betas(pilot_temperatures, 10.0).to(position)[:, None].expand(-1, rows)
    steps = position.new_full((pilot_temperatures + 1, rows), FIRST_STEP)
    path = Path(betas, steps, precision, precision)
    for temperatures_next in (pilot_temperatures, temperatures):
        end, steps, spread = _pilot(ends, position, path, leapfrogs)
        betas, steps = _even(path.betas, steps, spread, temperatures_next)
        path = Path(betas.to(position), steps.to(position), precision, _precision(end))
    cost = 2 * len(position) * (pilot_temperatures + WARM_UP + 1) * (leapfrogs + 1)
    return Path(path.betas, path.steps, path.start_precision, path.end_precision, cost)


def _precision(position: Tensor) -> Tensor:
    """Inverse variance over chains, pulled towards the dimensions' common one, since chains are few."""
    variance = position.var(0)
    common = variance.log().mean(-1, keepdim=True).exp()
    count = len(position)
    return (count + 4.0) / (count * variance + 4.0 * common).clamp(min=1e-12)


def _pilot(
    ends: Ends, position: Tensor, path: Path, leapfrogs: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Run chains whose step follows their acceptance.

    Returns:
        Where they end (C, B, F); the steps (T + 1, B); how much log f1 / f0 differs between chains there.
    """
    state, step = at(ends, position), path.steps[0].clone()
    steps, spread = [], []
    for t in range(path.temperatures + 1):
        for _ in range(WARM_UP + 1 if t == 0 else 1):
            here = (path.betas[t], step, path.precision(t))
            state, accept = transition(ends, state, *here, leapfrogs)
            step = step * torch.exp(GAIN * (accept.mean(0) - TARGET))
        steps.append(step)
        spread.append(state.difference.std(0))
    return state.position, torch.stack(steps), torch.stack(spread)


def _even(betas: Tensor, steps: Tensor, spread: Tensor, temperatures: int) -> tuple[Tensor, Tensor]:
    """Temperatures at even distances along the path, (T + 1, B), and the steps there.

    A path's length between two temperatures is the spread of log f1 / f0 times their difference.
    """
    betas, steps = betas.double(), steps.double()
    # The mean spread of an interval; geometric, since near the start it falls by orders of magnitude.
    mean = (spread[1:].clamp(min=1e-9) * spread[:-1].clamp(min=1e-9)).sqrt()
    length = torch.cat([torch.zeros_like(betas[:1]), (mean * betas.diff(dim=0)).cumsum(0)])
    # A part of the steps stays where the pilots' were: what few chains missed must not be leapt over.
    even = torch.linspace(0, 1, len(betas), dtype=torch.float64, device=betas.device)[:, None]
    length = ((1 - KEPT) * length / length[-1] + KEPT * even).mT.contiguous()  # (B, T + 1)
    wanted = torch.linspace(0, 1, temperatures + 1, dtype=torch.float64, device=betas.device)
    wanted = wanted.expand(len(length), -1).contiguous()
    above = torch.searchsorted(length, wanted).clamp(1, length.shape[1] - 1)
    low, high = length.gather(1, above - 1), length.gather(1, above)
    share = ((wanted - low) / (high - low).clamp(min=1e-300)).clamp(0.0, 1.0)

    def between(values: Tensor) -> Tensor:
        rows = values.mT
        return (rows.gather(1, above - 1) * (1 - share) + rows.gather(1, above) * share).mT

    return between(betas), between(steps)


def anneal(ends: Ends, position: Tensor, path: Path, leapfrogs: int) -> Tensor:
    """Log-weights of chains from draws of the start to the end: (C, B), float64, E exp = p(x)."""
    state = at(ends, position)
    log_weights = torch.zeros_like(state.difference)
    for t in range(1, path.temperatures + 1):
        log_weights += (path.betas[t] - path.betas[t - 1]) * state.difference
        if t < path.temperatures:
            state, _ = path.move(ends, state, t, leapfrogs)
    return log_weights


def anneal_back(ends: Ends, position: Tensor, path: Path, leapfrogs: int) -> Tensor:
    """Log-weights of chains from draws of the end to the start: (C, B), float64, E exp(-.) = 1 / p(x).

    The chains may all begin at one draw: they first go their own ways at the end, which stays as it is.
    """
    state = at(ends, position)
    for _ in range(APART):
        state, _ = path.move(ends, state, path.temperatures, leapfrogs)
    log_weights = torch.zeros_like(state.difference)
    for t in range(path.temperatures, 0, -1):
        if t < path.temperatures:
            state, _ = path.move(ends, state, t, leapfrogs)
        log_weights += (path.betas[t] - path.betas[t - 1]) * state.difference
    return log_weights
