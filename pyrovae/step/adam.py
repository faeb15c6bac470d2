"""Adam over all parameters at once, on the state of torch's own optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

ADAMS = (torch.optim.Adam, torch.optim.AdamW)


@dataclass
class AdamGroup:
    """Parameters with the same settings, and what Adam remembers of them."""

    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    maximize: bool
    decoupled: bool  # AdamW's weight decay
    parameters: list[Tensor] = field(default_factory=list)
    averages: list[Tensor] = field(default_factory=list)
    squares: list[Tensor] = field(default_factory=list)
    steps: list[Tensor] = field(default_factory=list)

    @property
    def fixed(self) -> tuple[Any, ...]:
        """The settings that a compiled step holds as constants: all but the learning rate."""
        return self.betas, self.eps, self.weight_decay, self.maximize, self.decoupled


def choose_fused(optimizer: Any) -> None:
    """Choose the fused kernel where an Adam leaves the choice open and its state fits the kernel."""
    if type(optimizer) not in ADAMS:
        return
    if any(state["step"].dtype != torch.float32 for state in optimizer.state.values() if state):
        return
    for group in optimizer.param_groups:
        is_open = group["fused"] is None and group["foreach"] is None
        plain = not (group["capturable"] or group["differentiable"])
        fits = all(
            p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in group["params"]
        )
        if is_open and plain and fits and not isinstance(group["lr"], Tensor):
            group["fused"] = True


def adam_groups(optimizers: Sequence[Any], parameters: Sequence[Tensor]) -> list[AdamGroup] | None:
    """The state of fused Adams for some parameters, gathered by settings.

    Returns:
        None if some optimizer is another, has hooks, or has not made its state yet.
    """
    wanted = {id(parameter) for parameter in parameters}
    groups: dict[tuple[Any, ...], AdamGroup] = {}
    for optimizer in optimizers:
        if type(optimizer) not in ADAMS:
            return None
        if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
            return None
        for options in optimizer.param_groups:
            if options["fused"] is not True or options["amsgrad"]:
                return None
            settings = (
                options["lr"],
                options["betas"],
                options["eps"],
                options["weight_decay"],
                options["maximize"],
                type(optimizer) is torch.optim.AdamW,
            )
            if settings not in groups:
                groups[settings] = AdamGroup(*settings)
            group = groups[settings]
            for parameter in options["params"]:
                if id(parameter) not in wanted:
                    continue
                state = optimizer.state.get(parameter)
                if not state:
                    return None
                group.parameters.append(parameter)
                group.averages.append(state["exp_avg"])
                group.squares.append(state["exp_avg_sq"])
                group.steps.append(state["step"])
    return [group for group in groups.values() if group.parameters]


@torch.no_grad()
def fused_adam(groups: Sequence[AdamGroup], gradients: Mapping[Tensor, Tensor]) -> None:
    """One step of Adam: what ``torch.optim.Adam(fused=True).step()`` computes, to the bit."""
    for group in groups:
        torch._foreach_add_(group.steps, 1)
        kernel = torch._fused_adamw_ if group.decoupled else torch._fused_adam_
        kernel(
            group.parameters,
            [gradients[parameter] for parameter in group.parameters],
            group.averages,
            group.squares,
            [],
            group.steps,
            lr=group.lr,
            beta1=group.betas[0],
            beta2=group.betas[1],
            weight_decay=group.weight_decay,
            eps=group.eps,
            amsgrad=False,
            maximize=group.maximize,
        )


def corrections(group: AdamGroup, rate: Any, time: Any) -> tuple[Any, Any]:
    """Step size with the bias of the average taken out, and one over the root for that of the square."""
    beta1, beta2 = group.betas
    return rate / (1 - beta1**time), (1 - beta2**time) ** -0.5


def adam_in_graph(
    group: AdamGroup,
    scalars: Sequence[Tensor],
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    averages: Sequence[Tensor],
    squares: Sequence[Tensor],
    steps: Sequence[Tensor],
) -> None:
    r"""One step of Adam in plain operations, in place, for a graph that is to be compiled.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2,
              \quad \theta \leftarrow \theta - \eta \frac{m / (1 - \beta_1^t)}
              {\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    ``scalars`` are the learning rate and what `corrections` returns.

    Source: Adam: a method for stochastic optimization (Kingma & Ba, 2015); Decoupled weight decay
    regularization (Loshchilov & Hutter, 2019).
    """
    beta1, beta2 = group.betas
    lr, size, root = (scalar.to(parameters[0].dtype) for scalar in scalars)
    for step in steps:
        step.add_(1)
    for p, g, m, v in zip(parameters, gradients, averages, squares, strict=True):
        if group.maximize:
            g = -g
        if group.weight_decay and group.decoupled:
            p.mul_(1 - lr * group.weight_decay)
        elif group.weight_decay:
            g = g + group.weight_decay * p
        m.copy_(m + (1 - beta1) * (g - m))
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        p.sub_(size * m / (v.sqrt() * root + group.eps))
