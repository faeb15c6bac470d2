"""What each term of a particle weighs in a gradient, and which gradients a guide's sites can take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyrovae.waist.particles import Particles

if TYPE_CHECKING:
    from pyrovae.objective import Objective

Bound = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Weights:
    """What each term of a particle is multiplied by in a gradient, each (..., K, B).

    Attributes:
        model: log p, differentiated by the model's parameters.
        path: log p - log q, differentiated through the draws; None for no path.
        density: log q, differentiated by the guide's parameters with the draws held; None for none.
        shared: log p - log q, differentiated through draws outside the data plate; None is as ``model``.
    """

    model: Tensor
    path: Tensor | None = None
    density: Tensor | None = None
    shared: Tensor | None = None


def weighed(weights: Tensor, terms: Tensor) -> Tensor:
    """The sum of weights times terms, a scalar; a weight of 0 leaves out a term that is infinite."""
    return torch.where(weights == 0, 0.0, weights * terms).sum()


def coefficients(bound: Bound, log_weights: Tensor) -> Tensor:
    """Derivative of the summed bound by each log-weight, (K, B), by automatic differentiation."""
    with torch.enable_grad():
        free = log_weights.detach().requires_grad_()
        (weights,) = torch.autograd.grad(bound(free).sum(), free)
    return weights


def dreg_coefficients(bound: Bound, log_weights: Tensor) -> Tensor:
    """Weights of the doubly reparameterised path, c_k - dc_k / d log w_k, (K, B), without closed form."""
    from torch.func import grad, jvp, vmap

    def first(free: Tensor) -> Tensor:
        derivative: Tensor = grad(lambda each: bound(each).sum())(free)
        return derivative

    def second(direction: Tensor) -> Tensor:
        both = jvp(first, (log_weights,), (direction[:, None].expand_as(log_weights),))
        return (direction[:, None] * both[1]).sum(0)

    log_weights = log_weights.detach()
    eye = torch.eye(len(log_weights), dtype=log_weights.dtype, device=log_weights.device)
    result: Tensor = first(log_weights) - vmap(second)(eye)
    return result


def spread(objective: Objective, particles: Particles, single: Tensor) -> Tensor:
    """Derivatives of the bound by log-weights, (K, B), as derivatives by the terms, (..., K, B)."""
    if particles.log_enumerated is None:
        return single
    return share_of(objective, particles, particles.log_enumerated) * single


def spread_twice(
    objective: Objective, particles: Particles, single: Tensor, double: Tensor
) -> Tensor:
    """What the doubly reparameterised path is weighed by, (K, B), for every term, (..., K, B).

    Args:
        objective: whether it averages over what is enumerated or sums it out.
        particles: with the enumerated dimensions.
        single: derivatives of the bound by log-weights, (K, B).
        double: those less their own derivatives, (K, B).
    """
    weights = spread(objective, particles, single)
    if objective.linear:
        return weights
    if particles.log_enumerated is not None:
        share = share_of(objective, particles, particles.log_enumerated)
        double = share * shared(objective, particles, share) * double
    if isinstance(particles.power, Tensor) or particles.power != 1.0:
        double = (1.0 - particles.power) * weights + particles.power * double
    return double


def share_of(objective: Objective, particles: Particles, log_enumerated: Tensor) -> Tensor:
    """The share of every enumerated value in the weight of its particle, (..., K, B), detached."""
    if objective.linear:
        return log_enumerated.detach().exp()
    return (particles.log_terms - particles.log_weights).detach().exp()


def shared(objective: Objective, particles: Particles, share: Tensor) -> Tensor:
    """The share of each draw in its weight: a draw serves all values of what it does not depend on.

    Raises:
        ValueError: some draws depend on what is enumerated, and others do not.
    """
    if particles.given is None:
        raise ValueError(
            f"gradient={objective.gradient!r} needs all drawn sites of the guide to depend on the same "
            "enumerated sites, and here they differ: use gradient='pathwise', or draw every site after "
            "the enumerated ones and given them"
        )
    others = [dim for dim in range(-share.dim(), -2) if dim not in particles.given]
    return share.sum(others, keepdim=True) if others else share


def path_weights(objective: Objective, particles: Particles) -> Weights | None:
    """The weights of ``"stl"`` and ``"dreg"``; None for other gradients."""
    if objective.gradient not in ("stl", "dreg"):
        return None
    refuse_undrawn(objective, particles)
    log_weights = particles.log_weights.detach()
    single = objective.coefficients(log_weights)
    model = spread(objective, particles, single)
    if objective.gradient == "stl":
        return Weights(model, model)
    double = objective.dreg_coefficients(log_weights)
    return Weights(model, spread_twice(objective, particles, single, double))


def refuse_outside(objective: Objective, particles: Particles) -> None:
    """Refuse latents outside the data plate, which a gradient by weighted scores has no weights for."""
    if isinstance(particles.log_guide_outside, Tensor):
        raise ValueError(
            f"{type(objective).__name__}(gradient={objective.gradient!r}) weighs the score of each "
            f"datapoint's draws, and the guide has sites outside the data plate (among "
            f"{', '.join(map(repr, particles.outside))}): use objectives.IWAE(gradient='dreg'), or "
            "gradient='pathwise' where this objective knows it"
        )


def refuse_undrawn(objective: Objective, particles: Particles) -> None:
    """Refuse a gradient that needs reparameterised draws where the guide has others.

    Raises:
        ValueError: naming the site, and the gradient that it can take.
    """
    if particles.undrawn:
        names = ", ".join(map(repr, particles.undrawn))
        raise ValueError(
            f"gradient={objective.gradient!r} needs draws that carry a gradient, and those of the guide's "
            f"site {names} carry none: use gradient='pathwise', which takes the score function there and "
            "the path elsewhere, or have the guide enumerate a discrete site with "
            "infer={'enumerate': 'parallel'}"
        )
