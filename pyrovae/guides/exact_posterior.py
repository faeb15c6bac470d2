"""The exact posterior of a model that has one in closed form."""

from __future__ import annotations

import pyro
from pyro.nn import PyroModule
from torch import Tensor

from pyrovae.programs import ExactModel, data_plate


class ExactPosterior(PyroModule):
    r"""The exact posterior of a model that has one in closed form.

    .. math:: q(z \mid x) = p(z \mid x), \qquad \log w = \log p(x) \text{ for every draw}

    A discrete latent is enumerated, so that the gradient of the bound is exact too.

    Args:
        model: a model with methods ``posterior(x)`` and ``exact_log_evidence(x)``.

    Raises:
        TypeError: the model has no exact posterior.

    Source: A view of the EM algorithm that justifies incremental, sparse, and other variants
    (Neal & Hinton, 1998): the exact posterior is the E-step.

    How to read it: the inference gap is zero, and every objective and estimator returns log p(x).

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> guide = ExactPosterior(ProbabilisticPCA(5, latent=2))
        >>> guide(torch.zeros(3, 5)).shape
        torch.Size([3, 2])
    """

    def __init__(self, model: ExactModel) -> None:
        super().__init__()
        if not isinstance(model, ExactModel):
            raise TypeError(
                f"ExactPosterior needs a model with a closed-form posterior, such as GaussianMixture or "
                f"ProbabilisticPCA, but got {type(model).__name__}: use guides.Amortized or "
                "guides.PerDatapoint"
            )
        # In a tuple, so that the model's parameters are not registered as the guide's a second time.
        self._model = (model,)

    @property
    def model(self) -> ExactModel:
        """The model whose posterior this is."""
        return self._model[0]

    @property
    def features(self) -> int:
        """D, if the model says it."""
        features: int = self.model.features  # type: ignore[attr-defined]
        return features

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z from p(z | x) for each row of ``x``."""
        posterior = self.model.posterior(x)
        infer = {"enumerate": "parallel"} if posterior.has_enumerate_support else {}
        with data_plate(len(x), index, size):
            z: Tensor = pyro.sample("z", posterior, infer=infer)
        return z
