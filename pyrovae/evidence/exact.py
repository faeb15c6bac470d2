"""The exact evidence, of a model that has it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrovae.programs import ExactModel, Program, own_parameters
from pyrovae.sampling.evidence_result import Evidence
from pyrovae.sampling.rows import as_rows
from pyrovae.waist.joint import density, draws
from pyrovae.waist.sites import find_layout


class Exact:
    r"""The exact log p(x): in closed form, or by summing out latents that are all enumerated.

    .. math:: p(x) = \sum_z p(x, z)

    Raises:
        TypeError: the model has no closed form, and a latent that is not enumerated.

    Source: the model's own ``exact_log_evidence``; Tensor variable elimination for plated factor graphs
    (Obermeyer et al., 2019) for the sums.

    How to read it: every estimator must agree with it within its standard error.

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> Exact()(ProbabilisticPCA(5, latent=2), None, torch.zeros(3, 5)).value.shape
        torch.Size([3])
    """

    @torch.no_grad()
    def __call__(
        self, model: Program, guide: Program | None, x: Tensor, *, seed: int = 0, **kwargs: Any
    ) -> Evidence:
        """Log p(x) of each row of ``x`` (B, D), with standard error 0."""
        x = as_rows(x, model, guide)
        if isinstance(model, ExactModel):
            value = model.exact_log_evidence(x).double()
        else:
            value = _summed_out(model, x, kwargs)
        return Evidence(value, torch.zeros_like(value), cost=1)


def _summed_out(model: Program, x: Tensor, kwargs: dict[str, Any]) -> Tensor:
    layout = find_layout(model, None, (x,), kwargs)
    with torch.random.fork_rng(), own_parameters():
        left = sorted(draws(model, (x,), kwargs, num_particles=1, layout=layout).values)
        if left:
            raise TypeError(
                f"{type(model).__name__} has no closed-form evidence, and its latent "
                f"{', '.join(map(repr, left))} is not enumerated: use evidence.ImportanceSampling, or "
                "evidence.Quadrature for one or two dimensions"
            )
        return density(model, {}, (x,), kwargs, layout=layout).joint[0].double()
