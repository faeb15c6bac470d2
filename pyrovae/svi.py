"""Stochastic variational inference, with the interface of `pyro.infer.SVI`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from torch import Tensor

from pyrovae.programs import Program, modules_of, own_parameters

OptimizerFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
Optimizer = pyro.optim.PyroOptim | torch.optim.Optimizer | OptimizerFactory


class SVI:
    r"""Stochastic variational inference: gradient steps on an objective of a model and a guide.

    .. math:: \theta, \phi \leftarrow \text{optim}(\theta, \phi, \nabla \text{loss}(\theta, \phi))

    Every parameter of the two modules is trained, and every ``pyro.param`` they use; modules keep their
    own parameters, whatever their names, and Pyro's global store is left alone.

    Args:
        model: p(x, z), a Pyro program.
        guide: q(z | x), a Pyro program.
        optim: an optimizer of ``pyro.optim``, a ``torch.optim.Optimizer`` over the programs' parameters,
            or a callable that makes one from parameters, such as
            ``functools.partial(torch.optim.Adam, lr=1e-3)``.
        loss: an objective of this package, or a `pyro.infer.ELBO`.

    Raises:
        TypeError: an optimizer or a loss that is none of these.

    Source: Black box variational inference (Ranganath, Gerrish & Blei, 2014); Automated variational
    inference in probabilistic programming (Wingate & Weber, 2013).

    How to read it: ``step`` returns minus the bound of the data set, in nats, before the step.

    Example:
        >>> import functools, torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.guides import Amortized
        >>> from pyrovae.objectives import ELBO
        >>> adam = functools.partial(torch.optim.Adam, lr=1e-2)
        >>> svi = SVI(ProbabilisticPCA(5, latent=2), Amortized(5, 2), adam, loss=ELBO())
        >>> isinstance(svi.step(torch.zeros(3, 5)), float)
        True
    """

    def __init__(self, model: Program, guide: Program, optim: Optimizer, loss: ELBO) -> None:
        if not isinstance(loss, ELBO):
            raise TypeError(
                f"loss is a {type(loss).__name__}: it must be an objective, such as "
                "pyrovae.objectives.ELBO() or pyro.infer.Trace_ELBO()"
            )
        if not callable(optim) and not isinstance(optim, torch.optim.Optimizer):
            raise TypeError(
                f"optim is a {type(optim).__name__}: it must be an optimizer of pyro.optim, a "
                "torch.optim.Optimizer, or a callable that makes one from parameters"
            )
        self.model = model
        self.guide = guide
        self.optim = optim
        self.loss = loss
        self._torch = optim if isinstance(optim, torch.optim.Optimizer) else None

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The torch optimizer at work; None with ``pyro.optim``, or before the first step."""
        return self._torch

    def parameters(self) -> list[Tensor]:
        """The parameters of the model and the guide that are modules, each once."""
        found = {
            id(p): p for module in modules_of(self.model, self.guide) for p in module.parameters()
        }
        return [parameter for parameter in found.values() if parameter.requires_grad]

    def step(self, *args: Any, **kwargs: Any) -> float:
        """Take one gradient step, and return the loss before it, in nats."""
        return float(self.step_tensor(*args, **kwargs))

    def step_tensor(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take one gradient step, and return the loss before it as a tensor, without waiting for it."""
        with (
            own_parameters(self.model, self.guide),
            poutine.trace(param_only=True) as seen,
            poutine.block(hide_types=["sample"]),
        ):
            if hasattr(self.loss, "differentiable_loss"):
                loss = self.loss.differentiable_loss(self.model, self.guide, *args, **kwargs)
                loss.backward()
            else:
                loss = torch.as_tensor(
                    self.loss.loss_and_grads(self.model, self.guide, *args, **kwargs)
                )
        parameters = self._trained(seen.trace)
        self._update(parameters)
        for parameter in parameters:
            parameter.grad = None
        return loss.detach()

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> float:
        """The loss at these data, in nats, without a step."""
        with torch.no_grad(), own_parameters(self.model, self.guide):
            return float(self.loss.loss(self.model, self.guide, *args, **kwargs))

    def _trained(self, trace: poutine.Trace) -> list[Tensor]:
        found = {id(p): p for p in self.parameters()}
        for site in trace.nodes.values():
            value = site["value"]
            parameter = value.unconstrained() if hasattr(value, "unconstrained") else value
            if parameter.is_leaf and parameter.requires_grad:
                found.setdefault(id(parameter), parameter)
        return list(found.values())

    def _update(self, parameters: list[Tensor]) -> None:
        if isinstance(self.optim, pyro.optim.PyroOptim):
            self.optim([p for p in parameters if p.grad is not None])
            return
        if self._torch is None:
            self._torch = self.optim(parameters)  # type: ignore[operator]
        self._torch.step()
