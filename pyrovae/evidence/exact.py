"""The exact evidence, of a model that knows it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrovae.evidence_result import Evidence
from pyrovae.programs import ExactModel, Program


class Exact:
    r"""The exact log p(x), where the model has it in closed form.

    Raises:
        TypeError: the model has no closed form.

    Source: the model's own ``exact_log_evidence``.

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
        if not isinstance(model, ExactModel):
            raise TypeError(
                f"{type(model).__name__} has no closed-form evidence: use evidence.ImportanceSampling"
            )
        value = model.exact_log_evidence(x).double()
        return Evidence(value, torch.zeros_like(value), cost=1)
