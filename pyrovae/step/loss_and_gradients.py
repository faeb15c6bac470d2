"""The part of a step that runs the programs: from a batch to the loss and the gradients."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO, TraceTailAdaptive_ELBO
from torch import Tensor

from pyrovae.programs import Program, modules_of, own_parameters
from pyrovae.step.precision import Precision, products_in
from pyrovae.step.random_state import RandomState
from pyrovae.step.recording import Outputs, ParametersChangedError
from pyrovae.step.row_tables import RowsTaken


class Stored:
    """The parameters in Pyro's store, before their constraints; its dictionary is another at times."""

    def __getitem__(self, name: str) -> Any:
        return pyro.get_param_store()._params[name]

    def get(self, name: str) -> Any:
        """One of them, or None."""
        return pyro.get_param_store()._params.get(name)


class LossAndGradients:
    """A function of a batch: the loss, the gradients of all parameters, and of the rows of tables.

    Returns a list: the loss; for each of ``leaves`` its gradient or None; for each of ``tables`` the
    numbers of the rows that were taken from it, and their gradients, or None and None.

    Args:
        model: p(x, z).
        guide: q(z | x).
        loss: the objective.
        precision: of matrix products and convolutions.
    """

    def __init__(
        self, model: Program, guide: Program, loss: ELBO, precision: Precision = "float32"
    ) -> None:
        self.precision: Precision = precision
        self.model = model
        self.guide = guide
        self.loss = loss
        self.leaves: list[Tensor] = []
        self.tables: list[Tensor] = []

    @property
    def differentiable(self) -> bool:
        """Whether the loss is a tensor that carries its gradient; the tail-adaptive one is infinite."""
        tail_adaptive = isinstance(self.loss, TraceTailAdaptive_ELBO)
        return hasattr(self.loss, "differentiable_loss") and not tail_adaptive

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outputs:
        """Run the programs for the parameters known.

        Raises:
            ParametersChangedError: they use others too; the random state is as it was before.
        """
        before = RandomState([])
        loss, used, rows = self._run(args, kwargs)
        known = {id(leaf) for leaf in self.leaves}
        if any(id(leaf) not in known for leaf in used):
            before.restore()
            raise ParametersChangedError("the programs use new parameters")
        return self._outputs(loss, rows)

    def first(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outputs:
        """Run the programs, and find out which parameters they use."""
        loss, self.leaves, rows = self._run(args, kwargs)
        return self._outputs(loss, rows)

    def look(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Find out which parameters the programs use, before any step; no random number is used up."""
        with (
            torch.no_grad(),
            torch.random.fork_rng(),
            own_parameters(),
            poutine.trace(param_only=True) as seen,
            poutine.block(hide_types=["sample"]),
        ):
            drawn = poutine.trace(self.guide).get_trace(*args, **kwargs)
            poutine.replay(self.model, trace=drawn)(*args, **kwargs)
        self.leaves = self._used(seen.trace)

    def parameters(self) -> list[Tensor]:
        """The parameters of the model and the guide that are modules, each once."""
        found = {
            id(p): p for module in modules_of(self.model, self.guide) for p in module.parameters()
        }
        return [parameter for parameter in found.values() if parameter.requires_grad]

    def tensors(self) -> list[Tensor]:
        """All tensors that are parameters or buffers, those that are trained first."""
        modules = modules_of(self.model, self.guide)
        return [*self.leaves, *(t for m in modules for t in (*m.parameters(), *m.buffers()))]

    def stored(self) -> dict[str, Tensor]:
        """The parameters in Pyro's store, unconstrained, that the steps so far have trained, by name."""
        store, trained = pyro.get_param_store()._params, {id(leaf) for leaf in self.leaves}
        return {name: leaf for name, leaf in store.items() if id(leaf) in trained}

    def places(self) -> list[tuple[Stored, str]]:
        """Where in Pyro's store these are."""
        return [(Stored(), name) for name in self.stored()]

    def _run(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Tensor, list[Tensor], RowsTaken]:
        rows = RowsTaken(self.tables)
        with (
            own_parameters(),
            products_in(self.precision),
            poutine.trace(param_only=True) as seen,
            poutine.block(hide_types=["sample"]),
        ):
            if not self.differentiable:
                loss = self.loss.loss_and_grads(self.model, self.guide, *args, **kwargs)
                return torch.as_tensor(loss), self._used(seen.trace), rows
            if not self.tables:
                loss = self.loss.differentiable_loss(self.model, self.guide, *args, **kwargs)
            else:
                with rows:
                    loss = self.loss.differentiable_loss(self.model, self.guide, *args, **kwargs)
        return loss, self._used(seen.trace), rows

    def _used(self, trace: poutine.Trace) -> list[Tensor]:
        found = {id(p): p for p in self.parameters()}
        for site in trace.nodes.values():
            value = site["value"]
            parameter = value.unconstrained() if hasattr(value, "unconstrained") else value
            if parameter.is_leaf and parameter.requires_grad:
                found.setdefault(id(parameter), parameter)
        return list(found.values())

    def _outputs(self, loss: Tensor, rows: RowsTaken) -> Outputs:
        if not self.differentiable:
            gradients = [leaf.grad for leaf in self.leaves]
            for leaf in self.leaves:
                leaf.grad = None
            return [loss, *gradients]
        moving = [leaf for leaf in self.leaves if leaf.requires_grad]
        taken = rows.leaves()
        found = iter(torch.autograd.grad(loss, [*moving, *taken], allow_unused=True))
        gradients = [
            _whole(leaf, next(found)) if leaf.requires_grad else None for leaf in self.leaves
        ]
        return [loss.detach(), *gradients, *rows.gradients(list(found))]


def _whole(leaf: Tensor, gradient: Tensor | None) -> Tensor | None:
    """A gradient with what lay in ``.grad``, which `Capture` plays no step beside.

    Hooks that look for it in ``.grad`` once it is there may take it away.
    """
    left, leaf.grad = leaf.grad, None
    hooks: Any = leaf._post_accumulate_grad_hooks
    if left is not None and bool(left.any()):  # stock SVI leaves zeros
        gradient = left if gradient is None else gradient + left
    if not hooks or gradient is None:
        return gradient
    leaf.grad = gradient
    try:
        for hook in list(hooks.values()):
            hook(leaf)
        return leaf.grad
    finally:
        leaf.grad = None
