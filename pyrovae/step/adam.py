"""Adam over all parameters at once, on the state of torch's own optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

ADAMS = (torch.optim.Adam, torch.optim.AdamW)


class Formula(NamedTuple):
    """The settings that choose between formulas; all others are numbers."""

    decays: bool
    maximize: bool
    decoupled: bool  # AdamW's weight decay


@dataclass
class AdamGroup:
    """Parameters with the same settings, and what Adam remembers of them."""

    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    maximize: bool
    decoupled: bool
    parameters: list[Tensor] = field(default_factory=list)
    averages: list[Tensor] = field(default_factory=list)
    squares: list[Tensor] = field(default_factory=list)
    steps: list[Tensor] = field(default_factory=list)

    @property
    def formula(self) -> Formula:
        """What these settings choose."""
        return Formula(self.weight_decay != 0, self.maximize, self.decoupled)


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
            p.is_floating_point() and p.device.type in ("cpu", "cuda") and _is_dense(p)
            for p in group["params"]
        )
        if is_open and plain and fits and not isinstance(group["lr"], Tensor):
            group["fused"] = True


def adam_groups(
    optimizers: Sequence[Any], parameters: Sequence[Tensor], *, begin: bool = False
) -> list[AdamGroup] | None:
    """The state of fused Adams for some parameters, gathered by settings, types and devices.

    Returns:
        None if some optimizer is another, has hooks, or has not made its state yet; with ``begin`` that
        is made here.
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
                tuple(options["betas"]),
                options["eps"],
                options["weight_decay"],
                options["maximize"],
                type(optimizer) is torch.optim.AdamW,
            )
            for parameter in options["params"]:
                if id(parameter) not in wanted:
                    continue
                # On an accelerator the kernel takes one type at a time, and one device.
                kind = (*settings, parameter.dtype, parameter.device)
                group = groups.setdefault(kind, AdamGroup(*settings))
                state = optimizer.state[parameter] if begin else optimizer.state.get(parameter)
                if begin:
                    _begin(state, parameter)
                if not state:
                    return None
                _lay_out(state, parameter)
                group.parameters.append(parameter)
                group.averages.append(state["exp_avg"])
                group.squares.append(state["exp_avg_sq"])
                group.steps.append(state["step"])
    return list(groups.values())


def _begin(state: dict[str, Tensor], parameter: Tensor) -> None:
    """Make what the fused Adam remembers of a parameter, where it is missing, as torch makes it."""
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"] = torch.zeros_like(parameter, requires_grad=False)
        state["exp_avg_sq"] = torch.zeros_like(parameter, requires_grad=False)


def _is_dense(tensor: Tensor) -> bool:
    """Whether its numbers lie side by side in memory, as the fused kernel takes them."""
    return torch.empty_like(tensor).stride() == tensor.stride()


def _lay_out(state: dict[str, Tensor], parameter: Tensor) -> None:
    """Let what is remembered lie in memory as the parameter does, where it was loaded or either replaced."""
    for name in ("exp_avg", "exp_avg_sq"):
        held = state[name]
        if held.stride() != parameter.stride() and held.shape == parameter.shape:
            state[name] = torch.empty_like(parameter, requires_grad=False).copy_(held)


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


def corrections(rate: Any, betas: tuple[Any, Any], time: Any) -> tuple[Any, Any]:
    """Step size with the bias of the average taken out, and one over the root for that of the square."""
    beta1, beta2 = betas
    return rate / (1 - beta1**time), (1 - beta2**time) ** -0.5
