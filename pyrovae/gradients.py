r"""Gradients of a bound: how the same number is differentiated in different ways.

For a bound :math:`F(\log w_1, \dots, \log w_K)` of one datapoint with reparameterised draws
:math:`z_k(\phi)`, write :math:`c_k = \partial F / \partial \log w_k`. The gradient by the guide's
parameters has two parts, one through the draws and one through the density:

.. math:: \sum_k c_k \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}
          - \sum_k c_k \frac{\partial \log q_\phi(z_k)}{\partial \phi}

Sticking the landing drops the second part; the doubly reparameterised gradient replaces it by an
expression of the first kind with the same expectation, so that the weights of the path become
:math:`c_k - \partial c_k / \partial \log w_k`. For the importance-weighted bound that is the square of
the normalised weight, for the Renyi bound
:math:`\alpha \tilde w_k + (1 - \alpha) \tilde w_k^2`.

Draws that carry no gradient get the score function, :math:`(F - b_k) \, \partial \log q(z_k)`, with a
baseline :math:`b_k` that does not depend on them. What a guide enumerates needs neither: its
probabilities are differentiated as they stand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae.baselines import learning_signal
from pyrovae.handlers import Draw
from pyrovae.particles import Particles

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
    """

    model: Tensor
    path: Tensor | None = None
    density: Tensor | None = None


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


def surrogate(objective: Objective, particles: Particles) -> Tensor:
    """A scalar whose gradient is the one that the objective asks for; its value means nothing."""
    weights = objective.weights(particles)
    score = score_surrogate(objective, particles)
    if weights is None:
        target = objective.target(particles)
        return target if isinstance(score, float) else target + score
    return cut_surrogate(objective, particles, weights, score)


def cut_surrogate(
    objective: Objective, particles: Particles, weights: Weights, score: Tensor | float
) -> Tensor:
    """A scalar whose gradient weighs the model, the path of the draws and the guide's density apart.

    The draws were cut from the guide, so that a gradient by a leaf is the partial derivative through
    that draw alone; `reattach` carries it back to the guide's parameters.
    """
    exact = enumerated_part(objective, particles, weights.model)
    local: Any = (weights.model * particles.log_joint).sum() + exact
    direct = particles.log_model_outside
    if weights.density is not None:
        local = local + particles.power * (weights.density * particles.log_guide).sum()
        direct = direct - particles.log_guide_outside
    total: Tensor = local * particles.scale + direct + score
    inside = outside = None
    if weights.path is not None and any(draw.inside for draw in particles.draws.values()):
        drawn = particles.log_joint - particles.power * particles.log_guide
        path = (weights.path * drawn).sum() + enumerated_part(objective, particles, weights.path)
        inside = path * particles.scale + score
    if any(not draw.inside for draw in particles.draws.values()):
        # Of a latent shared by all datapoints the bound is linear in log p - log q.
        outside = local * particles.scale + particles.log_outside + score
    return total + reattach(list(particles.draws.values()), inside, outside)


def enumerated_part(objective: Objective, particles: Particles, weights: Tensor) -> Tensor | float:
    """A scalar whose gradient is that through the probabilities of what the guide enumerates."""
    own = particles.log_enumerated
    if own is None:
        return 0.0
    if not objective.linear:
        # Summed out, these probabilities cancel from the weights, unless those are tempered.
        if not isinstance(particles.power, Tensor) and particles.power == 1.0:
            return 0.0
        return (1.0 - particles.power) * (weights * own).sum()
    terms = particles.log_joint - particles.power * (particles.log_guide + own)
    ratio = (own - own.detach()).exp()  # 1, with the gradient of the probability over itself
    return (weights * (ratio * terms.detach() - particles.power * own)).sum()


def reattach(draws: list[Draw], inside: Tensor | None, outside: Tensor | None) -> Tensor | float:
    """A scalar whose gradient by the guide's parameters is that of two scalars through its draws.

    It is found from the last draw to the first, since later draws may depend on earlier ones.

    Args:
        draws: in the order they were made.
        inside: what is differentiated by the draws inside the data plate.
        outside: what is differentiated by the draws outside it.
    """
    leaves = [draw.leaf for draw in draws]
    adjoints: list[Any] = [None] * len(draws)
    for target, where in ((inside, True), (outside, False)):
        chosen = [i for i, draw in enumerate(draws) if draw.inside is where]
        if target is None or not chosen or not target.requires_grad:
            continue
        found = torch.autograd.grad(
            target, [leaves[i] for i in chosen], retain_graph=True, allow_unused=True
        )
        for i, gradient in zip(chosen, found, strict=True):
            adjoints[i] = gradient
    total: Tensor | float = 0.0
    for last in range(len(draws) - 1, -1, -1):
        if adjoints[last] is None:
            continue
        if last:
            earlier = torch.autograd.grad(
                draws[last].value,
                leaves[:last],
                adjoints[last],
                retain_graph=True,
                allow_unused=True,
            )
            for i, gradient in enumerate(earlier):
                if gradient is not None:
                    adjoints[i] = gradient if adjoints[i] is None else adjoints[i] + gradient
        total = total + (adjoints[last].detach() * draws[last].value).sum()
    return total


def score_surrogate(objective: Objective, particles: Particles) -> Tensor | float:
    """A scalar whose gradient is the score-function part, for draws that carry no gradient."""
    result: Tensor | float = 0.0
    log_score = particles.log_score
    if log_score is not None and log_score.requires_grad and objective.scored:
        reduced = objective.reduced(particles).detach()
        signal = learning_signal(
            objective.guide_bound, reduced, objective.baseline, objective.average
        )
        result = (signal * log_score).sum() * particles.scale
    outside = particles.log_score_outside
    if outside is not None and outside.requires_grad:
        value = objective.value(particles).detach()
        signal = value
        if objective.baseline != "none":
            signal = value - objective.average_outside.value().to(value.dtype)
            objective.average_outside.update(value)
        result = result + signal * outside
    return result


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
