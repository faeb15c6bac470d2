"""Per-datapoint parameters for rows that were not in training, with the model frozen."""

from __future__ import annotations

import torch
from pyro import poutine
from pyro.infer import ELBO as PyroELBO
from torch import Tensor, nn

from pyrovae.objective import Gradient
from pyrovae.objectives import ELBO
from pyrovae.programs import Program, RowGuide, latent_sites, modules_of, own_parameters
from pyrovae.svi import SVI


def refit(
    model: Program,
    guide: RowGuide,
    x: Tensor,
    *,
    objective: PyroELBO | None = None,
    steps: int = 1000,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> nn.Module:
    r"""Fit a per-datapoint guide to rows that were not in training, with the model frozen.

    .. math:: \hat\lambda_n = \arg\max_\lambda \, \mathcal{L}(\theta, \lambda; x_n)

    Args:
        model: p(x, z), whose parameters do not move.
        guide: a per-datapoint guide of the wanted kind; it is not changed.
        x: (B, D), the new rows.
        objective: what to maximise; the ELBO with 8 particles by default, without the guide's score where
            its draws carry a gradient.
        steps: gradient steps with all rows in each; the learning rate falls to zero along a cosine.
        learning_rate: of Adam, at the start.
        seed: of the draws; the global random state is left as it was.

    Returns:
        A guide with B rows, in the order of ``x``.

    Source: Inference suboptimality in variational autoencoders (Cremer, Li & Duvenaud, 2018).

    How to read it: the bound under the refitted guide is the best the family can do for these rows.

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.guides import PerDatapoint
        >>> refit(ProbabilisticPCA(5, latent=2), PerDatapoint(9, 2), torch.zeros(3, 5), steps=10).size
        3
    """
    fitted = guide.for_rows(len(x))
    fit_rows(
        model, fitted, x, objective=objective, steps=steps, learning_rate=learning_rate, seed=seed
    )
    return fitted


def fit_rows(
    model: Program,
    guide: nn.Module,
    x: Tensor,
    *,
    objective: PyroELBO | None = None,
    steps: int = 1000,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> None:
    """Fit a per-datapoint guide, from where it stands, to all rows at once with the model frozen.

    The arguments are those of `refit`; the guide is changed in place.

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: at least one step is needed")
    with torch.random.fork_rng(), frozen(model), own_parameters(), torch.enable_grad():
        torch.manual_seed(seed)
        if objective is None:
            # Without the guide's score where draws carry a gradient; by the score where they carry none.
            gradient: Gradient = "stl" if _draws_have_a_path(guide, x) else "pathwise"
            objective = ELBO(num_particles=8, gradient=gradient)
        optimizer = torch.optim.Adam(guide.parameters(), lr=learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        svi = SVI(model, guide, optimizer, objective, expected_steps=steps, reproducible=True)
        for _ in range(steps):
            svi.step_tensor(x)
            schedule.step()


def _draws_have_a_path(guide: Program, x: Tensor) -> bool:
    with torch.no_grad(), torch.random.fork_rng():
        sites = latent_sites(poutine.trace(guide).get_trace(x)).values()
    return all(site["fn"].has_rsample for site in sites)


class frozen:
    """Keep the parameters of some programs from moving while the context lasts."""

    def __init__(self, *programs: Program) -> None:
        self._parameters = [
            parameter
            for module in modules_of(*programs)
            for parameter in module.parameters()
            if parameter.requires_grad
        ]

    def __enter__(self) -> None:
        for parameter in self._parameters:
            parameter.requires_grad_(False)

    def __exit__(self, *error: object) -> None:
        for parameter in self._parameters:
            parameter.requires_grad_(True)
