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
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae.log_weights import Particles

if TYPE_CHECKING:
    from pyrovae.objective import Objective

Bound = Callable[[Tensor], Tensor]


def coefficients(bound: Bound, log_weights: Tensor) -> Tensor:
    """Derivative of the summed bound by each log-weight, (K, B), by automatic differentiation."""
    with torch.enable_grad():
        free = log_weights.detach().requires_grad_()
        (weights,) = torch.autograd.grad(bound(free).sum(), free)
    return weights


def dreg_coefficients(bound: Bound, log_weights: Tensor) -> Tensor:
    """Weights of the doubly reparameterised path: c - dc_k / d log w_k, (K, B)."""
    with torch.enable_grad():
        free = log_weights.detach().requires_grad_()
        (weights,) = torch.autograd.grad(bound(free).sum(), free, create_graph=True)
        result = weights.detach().clone()
        for k in range(len(free)):
            if weights.requires_grad:
                (second,) = torch.autograd.grad(weights[k].sum(), free, retain_graph=True)
                result[k] -= second[k]
    return result


def with_gradient(objective: Objective, particles: Particles) -> Tensor:
    """The bound of the data set as a scalar whose gradient is the one the objective asks for."""
    value = objective.value(particles)
    if objective.gradient in ("stl", "dreg"):
        surrogate: Tensor | float = path_surrogate(objective, particles)
    else:
        surrogate = value
    surrogate = surrogate + score_surrogate(objective, particles)
    if surrogate is value or not isinstance(surrogate, Tensor):
        return value
    return value.detach() + (surrogate - surrogate.detach())


def path_surrogate(objective: Objective, particles: Particles) -> Tensor:
    """A scalar whose gradient leaves out, or reparameterises, the score of the guide.

    The draws were cut from the guide, so that a gradient by the leaves is the partial derivative through
    the draw alone; it is carried back from the last draw to the first, since later draws may depend on
    earlier ones, and then handed to the draws themselves.

    Raises:
        ValueError: a site of the guide cannot take this gradient.
    """
    refuse_undrawn(objective, particles)
    log_weights = particles.log_weights
    weights = objective.coefficients(log_weights.detach())
    path_weights = (
        objective.dreg_coefficients(log_weights.detach())
        if objective.gradient == "dreg"
        else weights
    )
    model_part = (weights * particles.log_joint).sum() * particles.scale
    surrogate = model_part + particles.log_global
    draws = list(particles.draws.values())
    if not draws:
        return surrogate
    target = (path_weights * log_weights).sum() * particles.scale + particles.log_global
    leaves = [draw.leaf for draw in draws]
    adjoints: list[Any] = list(
        torch.autograd.grad(target, leaves, retain_graph=True, allow_unused=True)
    )
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
        surrogate = surrogate + (adjoints[last].detach() * draws[last].value).sum()
    return surrogate


def refuse_undrawn(objective: Objective, particles: Particles) -> None:
    """Refuse a gradient that needs reparameterised draws where the guide has others."""
    if particles.undrawn or particles.log_enumerated is not None:
        names = ", ".join(map(repr, particles.undrawn)) or "an enumerated site"
        raise ValueError(
            f"gradient={objective.gradient!r} needs draws that carry a gradient, and the guide's site "
            f"{names} has none: use gradient='pathwise', which takes the score function there"
        )


def score_surrogate(objective: Objective, particles: Particles) -> Tensor | float:
    r"""A scalar whose gradient is the score-function part, with a leave-one-out baseline.

    .. math:: \sum_k (F - F_{-k}) \, \partial \log q(z_k), \qquad
              F_{-k} = F \text{ with } \log w_k \text{ replaced by the mean of the others}

    Source: Variational inference for Monte Carlo objectives (Mnih & Rezende, 2016).
    """
    surrogate: Tensor | float = 0.0
    log_score = particles.log_score
    if log_score is not None and log_score.requires_grad:
        signal = learning_signal(objective.bound, particles.log_weights.detach())
        surrogate = (signal * log_score).sum() * particles.scale
    if particles.log_score_global is not None and particles.log_score_global.requires_grad:
        surrogate = surrogate + objective.value(particles).detach() * particles.log_score_global
    return surrogate


def learning_signal(bound: Bound, log_weights: Tensor) -> Tensor:
    """What each particle's score is multiplied by: the bound less its leave-one-out baseline, (K, B)."""
    num_particles = len(log_weights)
    if num_particles == 1:
        return bound(log_weights)[None]
    others = (log_weights.sum(0) - log_weights) / (num_particles - 1)
    eye = torch.eye(num_particles, dtype=torch.bool)[:, :, None]
    replaced = torch.where(eye, others[:, None], log_weights[None])  # which particle, particle, row
    baselines = torch.stack([bound(each) for each in replaced])
    return bound(log_weights) - baselines
