"""Parameters that an optimizer was not given."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pyro
import torch
from torch import Tensor

from pyrovae.parameters.names import names_of
from pyrovae.step.loss_and_gradients import LossAndGradients
from pyrovae.step.recording import Outputs


def not_given(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return those of some parameters that an optimizer does not have."""
    given = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [parameter for parameter in parameters if id(parameter) not in given]


def give(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> None:
    """Add those of some parameters that an optimizer does not have."""
    new = not_given(optimizer, parameters)
    if new:
        optimizer.add_param_group({"params": new})


class Untrained:
    """Warns, once each, of parameters that are not trained, by their names."""

    def __init__(self) -> None:
        self._named: set[int] = set()

    def __call__(self, optim: Any, function: LossAndGradients, gradients: Outputs) -> None:
        """Look at those that have a gradient: ``gradients`` are those of ``function.leaves``.

        Any other ``optim`` than an optimizer of torch that came ready is given all parameters.
        """
        if not isinstance(optim, torch.optim.Optimizer):
            return
        moving = [p for p, g in zip(function.leaves, gradients, strict=False) if g is not None]
        new = [p for p in not_given(optim, moving) if id(p) not in self._named]
        if not new:
            return
        self._named.update(map(id, new))
        names = names_of(function.model, function.guide) | pyro.get_param_store()._param_to_name
        listed = ", ".join(names.get(p, "one without a name").replace("$$$", ".") for p in new)
        warnings.warn(
            f"These parameters are not trained, since optim was not given them: {listed}. Give all to the "
            "optimizer, or pass what makes it, optim=functools.partial(torch.optim.Adam, lr=1e-3); those "
            "that are to stay as they are need no gradient: parameter.requires_grad_(False).",
            UserWarning,
            stacklevel=5,
        )
