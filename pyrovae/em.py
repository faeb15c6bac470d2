"""Expectation maximisation: the exact posterior as guide, then the best model for it, in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pyrovae.registry.plain import whole_numbers
from pyrovae.sources.tables import rows_for


@runtime_checkable
class Mixture(Protocol):
    """A model with a category for each row, whose M-step is known in closed form."""

    def log_joint(self, x: Tensor) -> Tensor:
        """Log p(x, z) for every category: (N, C), in nats."""
        ...

    def maximise_likelihood(self, x: Tensor, responsibilities: Tensor) -> None:
        """Set the parameters from data (N, D) and p(z | x) (N, C)."""
        ...


@dataclass(frozen=True)
class EMHistory:
    """How EM went.

    Args:
        bound: (T,), mean log p(x) at each E-step, before the M-step that follows, in nats per datapoint.
        converged: whether the last step raised it by less than the tolerance.
    """

    bound: Tensor
    converged: bool


@torch.no_grad()
def em(
    model: Mixture, x: Tensor | ArrayLike, *, iterations: int = 100, tolerance: float = 1e-3
) -> EMHistory:
    r"""Climb the likelihood of a mixture by expectation maximisation, from where the model stands.

    .. math:: \text{E:}\; q(z_n) \leftarrow p_\theta(z \mid x_n), \qquad
              \text{M:}\; \theta \leftarrow \arg\max_\theta \sum_n E_q \log p_\theta(x_n, z)

    The E-step makes the bound equal to the likelihood (the gap of the exact posterior is zero); the M-step
    raises the bound, and with it the likelihood.

    Args:
        model: a mixture, such as `pyrovae.models.GaussianMixture`; its parameters move.
        x: (N, D), the data: a tensor or an array.
        iterations: E- and M-steps at most.
        tolerance: stop when a step raises the likelihood by less, in nats per datapoint.

    Returns:
        An `EMHistory`.

    Raises:
        TypeError: a model without an M-step.
        ValueError: fewer than one iteration; data that is empty, infinite, or of another width than the
            model's ``features``.

    Source: Maximum likelihood from incomplete data via the EM algorithm (Dempster, Laird & Rubin, 1977);
    A view of the EM algorithm that justifies incremental, sparse, and other variants (Neal & Hinton, 1998).

    How to read it: the bound never falls, but by what a mixture's floor adds to its variances (0.1 nats in a
    step on Frey faces with a floor of 0.001), and where it stops a gradient would be zero as well: EM and
    SVI with the exact posterior as guide have the same optima, but for that floor.

    Example:
        >>> from pyrovae.models import GaussianMixture
        >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> model = GaussianMixture(2, components=2)
        >>> model.initialise(x)
        >>> history = em(model, x, iterations=20)
        >>> bool((history.bound.diff() > -1e-4).all())
        True
    """
    if not isinstance(model, Mixture):
        raise TypeError(
            f"EM needs a model whose M-step is known, such as GaussianMixture, but got "
            f"{type(model).__name__}: use pyrovae.fit"
        )
    whole_numbers(iterations=iterations)
    x = rows_for(model, x)
    bounds: list[float] = []
    converged = False
    for _ in range(iterations):
        log_joint = model.log_joint(x)
        log_evidence = log_joint.logsumexp(-1, keepdim=True)
        bounds.append(float(log_evidence.mean()))
        model.maximise_likelihood(x, (log_joint - log_evidence).exp())
        if len(bounds) > 1 and abs(bounds[-1] - bounds[-2]) < tolerance:
            converged = True
            break
    return EMHistory(torch.tensor(bounds, dtype=torch.float64), converged)
