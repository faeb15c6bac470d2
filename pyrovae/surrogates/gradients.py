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

A site made of earlier draws (a ``Delta`` with a log-density, as in Pyro's ``AutoStructured``) has no score:
the parameters that it is made with get the plain gradient under every name.

Draws that carry no gradient get the score function, :math:`(F - b_k) \, \partial \log q(z_k)`, with a
baseline :math:`b_k` that does not depend on them. What a guide enumerates needs neither: its
probabilities are differentiated as they stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae.surrogates.weighing import Weights, weighed
from pyrovae.waist.handlers import Draw
from pyrovae.waist.particles import Particles

if TYPE_CHECKING:
    from pyrovae.objective import Objective


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
    # What all datapoints share, and what draws are made with, are parameters to a bound: plain paths.
    plain = weights.model if weights.shared is None else weights.shared
    exact = enumerated_part(objective, particles, plain)
    local: Any = weighed(weights.model, particles.log_joint) + exact
    direct = particles.log_model_outside
    if weights.density is not None:
        local = local + particles.power * weighed(weights.density, particles.log_guide)
        direct = direct - particles.log_guide_outside
    elif particles.log_points is not None:
        local = local - particles.power * weighed(plain, particles.log_points)
    if weights.density is None:
        direct = direct - particles.log_points_outside
    total: Tensor = local * particles.scale + direct + score
    drawn = particles.log_joint - particles.power * particles.log_guide

    def along(path: Tensor) -> Tensor:
        terms = weighed(path, drawn) + enumerated_part(objective, particles, path)
        return terms * particles.scale + score

    draws = list(particles.draws.values())
    inside = [draw for draw in draws if draw.inside]
    noisy = [draw for draw in inside if not draw.point]
    if weights.path is not None and inside and inside[0].ported:
        # Weights of the path vanish where those of the model do, and their ratio with them.
        inside[0].share = torch.where(weights.model == 0, 0.0, weights.path / weights.model)
        own = -particles.power * weighed(weights.path, particles.log_guide) * particles.scale
        total = total + reattach(inside, own + score, inside)
    elif weights.path is not None and noisy:
        total = total + reattach(inside, along(weights.path), noisy)
    if len(noisy) < len(draws):
        others = [draw for draw in draws if draw.point or not draw.inside]
        total = total + reattach(draws, along(plain) + particles.log_outside, others)
    return total


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
    impossible = own.isneginf()
    own = own.masked_fill(impossible, 0.0)
    terms = particles.log_joint - particles.power * (particles.log_guide + own)
    terms = terms.masked_fill(impossible, 0.0)
    ratio = (own - own.detach()).exp()  # 1, with the gradient of the probability over itself
    return (weights * (ratio * terms.detach() - particles.power * own)).sum()


def reattach(draws: list[Draw], target: Tensor, wanted: list[Draw]) -> Tensor | float:
    """A scalar whose gradient by the guide's parameters is that of a target through some of its draws.

    It is found from the last draw to the first, since later draws may depend on earlier ones.

    Args:
        draws: those whose leaves the target depends on, in the order they were made.
        target: a scalar.
        wanted: those of the draws whose own dependence on the guide's parameters is to count.
    """
    if not target.requires_grad:
        return 0.0
    leaves = [draw.leaf for draw in draws]
    found = torch.autograd.grad(target, leaves, retain_graph=True, allow_unused=True)
    adjoints: list[Tensor | None] = list(found)
    total: Tensor | float = 0.0
    for last in range(len(draws) - 1, -1, -1):
        adjoint = adjoints[last]
        if adjoint is None:
            continue
        if last:
            earlier = torch.autograd.grad(
                draws[last].value, leaves[:last], adjoint, retain_graph=True, allow_unused=True
            )
            for i, gradient in enumerate(earlier):
                if gradient is not None:
                    before = adjoints[i]
                    adjoints[i] = gradient if before is None else before + gradient
        if any(draws[last] is draw for draw in wanted):
            total = total + (adjoint.detach() * draws[last].value).sum()
    return total


def score_surrogate(objective: Objective, particles: Particles) -> Tensor | float:
    """A scalar whose gradient is the score-function part, for draws that carry no gradient."""
    result: Tensor | float = 0.0
    log_score = particles.log_score
    if log_score is not None and log_score.requires_grad:
        signal = objective.signal(particles)
        result = (signal * log_score).sum() * particles.scale
    outside = particles.log_score_outside
    if outside is not None and outside.requires_grad:
        local = objective.guide_bound(objective.reduced(particles)).sum() * particles.scale
        signal = value = (local + particles.log_outside).detach()
        if objective.baseline != "none":
            signal = value - objective.average_outside.value().to(value.dtype)
            objective.average_outside.update(value)
        result = result + signal * outside
    return result
