"""From gradients to new parameters: any torch or Pyro optimizer, and a short way for Adam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer

from pyrovae.adam import AdamGroup, adam_groups, choose_fused, fused_adam


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
        given = {p: g for p, g in zip(parameters, gradients, strict=True) if g is not None}
        if not given:
            return
        if self.clip_norm is not None:
            given = dict(zip(given, clipped(list(given.values()), self.clip_norm), strict=True))
        groups = self.groups(list(given))
        if groups is None:
            self._step(given)
        else:
            fused_adam(groups, given)
            self.noticed()

    def groups(self, parameters: list[Tensor]) -> list[AdamGroup] | None:
        """What the fused Adam works on; None if these parameters have another optimizer."""
        optimizers = self._optimizers(parameters)
        return adam_groups(optimizers, parameters) if optimizers else None

    def settings(self) -> list[Any]:
        """What changes when someone changes the optimizer: looked at before every compiled step."""
        if isinstance(self.optim, Optimizer):
            return _settings(self.optim)
        return [_settings(optimizer) for optimizer in self.optim.optim_objs.values()]

    def noticed(self) -> None:
        """Let schedulers see that a step was taken."""
        if isinstance(self.optim, Optimizer):
            self.optim._opt_called = True  # type: ignore[attr-defined]

    def _step(self, gradients: dict[Tensor, Tensor]) -> None:
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        if isinstance(self.optim, PyroOptim):
            self.optim(list(gradients))
        else:
            self.optim.step()
        for parameter in gradients:
            parameter.grad = None

    def _optimizers(self, parameters: list[Tensor]) -> list[Any]:
        """The torch optimizers at work; none where Pyro has not made them yet, clips, or wraps them."""
        if isinstance(self.optim, Optimizer):
            found = [self.optim]
        else:
            made, clip = self.optim.optim_objs, self.optim.grad_clip
            if not all(p in made and clip[p] is None for p in parameters):
                return []
            found = [made[p] for p in parameters]
        for optimizer in found:
            if id(optimizer) not in self._prepared:
                self._prepared.add(id(optimizer))
                choose_fused(optimizer)
        return found


def _settings(optimizer: Any) -> list[Any]:
    if not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return [id(optimizer)]
    return [
        id(optimizer.state),
        len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks),
        *[
            (g["lr"], g["betas"], g["eps"], g["weight_decay"], g["maximize"], len(g["params"]))
            for g in optimizer.param_groups
        ],
    ]


def clipped(gradients: Sequence[Tensor], largest: float) -> list[Tensor]:
    """Gradients scaled down together so that their norm is at most ``largest``.

    Example:
        >>> clipped([torch.tensor([3.0]), torch.tensor([4.0])], 1.0)
        [tensor([0.6000]), tensor([0.8000])]
    """
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    return [gradient * factor for gradient in gradients]
