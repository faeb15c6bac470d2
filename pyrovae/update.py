"""From gradients to new parameters: any torch or Pyro optimizer, and a short way for Adam."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer


class Update:
    """Applies an optimizer to gradients that are not in ``.grad``.

    Adam and AdamW that leave the choice of kernel open get the fused one, for all parameters at once,
    without the bookkeeping of ``Optimizer.step``; the optimizer's own state is what it works on. Any
    other optimizer is called as ever.

    Args:
        optim: the optimizer.
        clip_norm: the largest norm of all gradients together, or None.
    """

    def __init__(self, optim: PyroOptim | Optimizer, clip_norm: float | None = None) -> None:
        self.optim = optim
        self.clip_norm = clip_norm
        self._prepared: set[int] = set()

    def __call__(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
        """Take a step; a parameter whose gradient is None stays where it is."""
        with_gradient = [
            (p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None
        ]
        if not with_gradient:
            return
        for parameter, gradient in with_gradient:
            parameter.grad = gradient
        try:
            moved = [parameter for parameter, _ in with_gradient]
            if self.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(moved, self.clip_norm)
            optimizers = self._optimizers(moved)
            groups = adam_groups(optimizers)
            if groups is None:
                self._step(moved)
            else:
                fused_adam(groups)
                for optimizer in optimizers:
                    optimizer._opt_called = True  # type: ignore[attr-defined]  # schedulers look for it
        finally:
            for parameter, _ in with_gradient:
                parameter.grad = None

    def _step(self, parameters: list[Tensor]) -> None:
        if isinstance(self.optim, PyroOptim):
            self.optim(parameters)
        else:
            self.optim.step()

    def _optimizers(self, parameters: list[Tensor]) -> list[Optimizer]:
        """The torch optimizers at work; none where Pyro has not made them yet or wraps them."""
        if isinstance(self.optim, Optimizer):
            found = [self.optim]
        else:
            made = self.optim.optim_objs
            if not all(p in made and self.optim.grad_clip[p] is None for p in parameters):
                return []
            found = [made[p] for p in parameters]
        for optimizer in found:
            if id(optimizer) not in self._prepared:
                self._prepared.add(id(optimizer))
                choose_fused(optimizer)
        return found


def choose_fused(optimizer: Optimizer) -> None:
    """Choose the fused kernel where an Adam leaves the choice open and its state fits the kernel."""
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW):
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


def adam_groups(
    optimizers: Iterable[Optimizer],
) -> dict[tuple[Any, ...], list[list[Tensor]]] | None:
    """The parameters of fused Adams with their gradients and state, by their settings.

    Returns:
        For each combination of settings the lists that the kernel takes; None if some optimizer is
        another, has hooks, or has not made its state yet.
    """
    groups: dict[tuple[Any, ...], list[list[Tensor]]] = {}
    count = 0
    for optimizer in optimizers:
        count += 1
        if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW):
            return None
        if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
            return None
        for group in optimizer.param_groups:
            if group["fused"] is not True or group["amsgrad"] or isinstance(group["lr"], Tensor):
                return None
            settings = (
                group["lr"],
                group["betas"],
                group["weight_decay"],
                group["eps"],
                group["maximize"],
                type(optimizer) is torch.optim.AdamW,
            )
            lists = groups.setdefault(settings, [[], [], [], [], []])
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = optimizer.state.get(parameter)
                if not state:
                    return None
                parts = (
                    parameter,
                    parameter.grad,
                    state["exp_avg"],
                    state["exp_avg_sq"],
                    state["step"],
                )
                for some, part in zip(lists, parts, strict=True):
                    some.append(part)
    return groups if count else None


@torch.no_grad()
def fused_adam(groups: dict[tuple[Any, ...], list[list[Tensor]]]) -> None:
    """One step of Adam: what ``torch.optim.Adam(fused=True).step()`` computes, to the bit."""
    for settings, (parameters, gradients, averages, squares, steps) in groups.items():
        if not parameters:
            continue
        lr, (beta1, beta2), weight_decay, eps, maximize, decoupled = settings
        torch._foreach_add_(steps, 1)
        kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
        kernel(
            parameters,
            gradients,
            averages,
            squares,
            [],
            steps,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            weight_decay=weight_decay,
            eps=eps,
            amsgrad=False,
            maximize=maximize,
        )
