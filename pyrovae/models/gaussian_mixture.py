"""A mixture of Gaussians."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae.densities.component_moments import component_moments
from pyrovae.densities.missing import any_missing, check_columns, log_prob, mean_and_scale, observe
from pyrovae.densities.normal_density import log_normals
from pyrovae.families import lower_triangle
from pyrovae.programs import data_plate
from pyrovae.registry.plain import whole_numbers
from pyrovae.sources.tables import rows_for

Covariance = Literal["full", "diagonal", "tied", "spherical"]
COVARIANCES: tuple[Covariance, ...] = ("full", "diagonal", "tied", "spherical")


class GaussianMixture(PyroModule):
    r"""A mixture of Gaussians: a category picks one of C normals.

    .. math:: z \sim \text{Categorical}(\pi), \qquad x \mid z \sim N(\mu_z, \Sigma_z), \qquad
              p(x) = \sum_c \pi_c N(x; \mu_c, \Sigma_c)

    ``z`` is marked for enumeration: under a guide that does not draw it, it is summed out exactly.
    ``NaN`` in x is missing, and integrated out.

    Args:
        features: D, observed dimensions.
        components: C, how many normals.
        covariance: ``"full"``, ``"diagonal"``, ``"tied"`` (one full matrix for all) or ``"spherical"``.
        floor: the least variance a dimension may have, in squared units of x; keeps a component from
            collapsing onto one datapoint, where the likelihood has no maximum.

    Raises:
        ValueError: a size below 1, a negative floor or an unknown covariance.

    Source: Pattern recognition and machine learning (Bishop, 2006), section 9.2.

    How to read it: the discrete latent-variable model whose evidence and posterior are exact, and the
    baseline every deep model should beat.

    Example:
        >>> import torch
        >>> x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
        >>> model = GaussianMixture(5, components=3)
        >>> model.initialise(x)
        >>> model.exact_log_evidence(x).shape
        torch.Size([100])
    """

    def __init__(
        self,
        features: int,
        *,
        components: int = 10,
        covariance: Covariance = "diagonal",
        floor: float = 1e-4,
    ) -> None:
        super().__init__()
        whole_numbers(features=features, components=components)
        if covariance not in COVARIANCES:
            raise ValueError(
                f"covariance is {covariance!r}: the known ones are {', '.join(COVARIANCES)}"
            )
        if not floor >= 0:
            raise ValueError(f"floor is {floor}: a variance is not negative")
        self.features = features
        self.components = components
        self.latent = components
        self.covariance = covariance
        self.floor = floor
        shape = {
            "full": (components, features),
            "diagonal": (components, features),
            "tied": (features,),
            "spherical": (components, 1),
        }[covariance]
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, features))
        self.log_variance = nn.Parameter(torch.zeros(shape))
        if covariance in ("full", "tied"):
            below = features * (features - 1) // 2
            self.below = nn.Parameter(torch.zeros(*shape[:-1], below))

    @property
    def weights(self) -> Tensor:
        """Probabilities of the components, (C,)."""
        return self.logits.softmax(-1)

    def prior(self) -> TorchDistribution:
        """p(z), event shape ()."""
        return dist.Categorical(logits=self.logits)

    def decode(self, z: Tensor) -> TorchDistribution:
        """p(x | z) for categories ``z`` (...,), event shape (D,)."""
        scale = self._scale()
        if self.covariance in ("diagonal", "spherical"):
            return dist.Normal(self.loc[z], scale[z]).to_event(1)
        scale = scale[z] if self.covariance == "full" else scale.squeeze(0)
        return dist.MultivariateNormal(self.loc[z], scale_tril=scale)

    def _scale(self) -> Tensor:
        """Standard deviations (C, D), or lower triangular factors, (C, D, D) or (1, D, D)."""
        scale = (self.floor + self.log_variance.exp()).sqrt()
        if self.covariance in ("diagonal", "spherical"):
            return scale.expand_as(self.loc)
        factor = lower_triangle(scale, self.below)
        return factor if self.covariance == "full" else factor.unsqueeze(0)

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z and observe ``x``: (B, D)."""
        with data_plate(len(x), index, size):
            z: Tensor = pyro.sample("z", self.prior(), infer={"enumerate": "parallel"})
            observe("x", self.decode(z), x)
        return z

    def log_joint(self, x: Tensor) -> Tensor:
        """Log p(x, z) for every category: (B, C), in nats."""
        check_columns(x, self.features)
        log_weights = self.logits.log_softmax(-1)
        if x.dtype == torch.float64 and x.ndim == 2 and not any_missing(x):
            return log_weights + log_normals(x, self.loc, self._scale())
        every = torch.arange(self.components, device=x.device)
        return log_weights + log_prob(self.decode(every), x.unsqueeze(-2))

    def posterior(self, x: Tensor) -> TorchDistribution:
        """p(z | x), the responsibilities, for each row of ``x``: event shape ()."""
        return dist.Categorical(logits=self.log_joint(x))

    def exact_log_evidence(self, x: Tensor) -> Tensor:
        """Log p(x) of each row of ``x`` (B, D): shape (B,), in nats."""
        return self.log_joint(x).logsumexp(-1)

    @torch.no_grad()
    def initialise(self, x: Tensor, seed: int = 0, restarts: int = 1) -> None:
        """Start from the clusters that k-means, begun by k-means++, finds in ``x`` (N, D).

        Args:
            x: the training data.
            seed: of k-means++; the global random states are left as they were.
            restarts: how many times k-means is begun; the best is kept.
        """
        from sklearn.cluster import KMeans

        x = rows_for(self, x)
        if len(x) < self.components:
            raise ValueError(
                f"the data have {len(x)} rows and the mixture {self.components} components: "
                "it needs at least one row for each"
            )
        x = torch.where(x.isnan(), mean_and_scale(x)[0], x)
        data = x.detach().cpu().double().numpy()
        labels = KMeans(self.components, n_init=restarts, random_state=seed).fit(data).labels_
        responsibilities = np.eye(self.components)[labels]
        self.maximise_likelihood(x, torch.as_tensor(responsibilities))

    @torch.no_grad()
    def maximise_likelihood(self, x: Tensor, responsibilities: Tensor) -> None:
        """The M-step of EM: set the parameters from ``x`` (N, D) and p(z | x) (N, C), plus the floor."""
        check_columns(x, self.features)
        x = x.double()
        counts, loc, covariances = component_moments(
            x, responsibilities.to(x), self.loc, self._scale(), tied=self.covariance == "tied"
        )
        if self.covariance == "spherical":
            covariances = covariances.mean(-1, keepdim=True)
        if self.covariance in ("diagonal", "spherical"):
            covariances = covariances.clamp(min=0.0) + self.floor
        else:
            covariances = covariances + self.floor * torch.eye(self.features).to(x)
        self.set_parameters(counts / counts.sum(), loc, covariances)

    @torch.no_grad()
    def set_parameters(self, weights: Tensor, loc: Tensor, covariances: Tensor) -> None:
        """Set the parameters from weights (C,), means (C, D) and covariances as scikit-learn shapes them.

        Args:
            weights: probabilities of the components.
            loc: their means.
            covariances: (C, D, D) full, (C, D) diagonal, (D, D) tied, (C,) or (C, 1) spherical.

        Raises:
            ValueError: a variance below the floor, or a covariance that is none.
        """
        self.logits.copy_(torch.as_tensor(weights).log())
        self.loc.copy_(torch.as_tensor(loc))
        variance = torch.as_tensor(covariances)
        if self.covariance == "spherical":
            variance = variance.reshape(-1, 1)
        rounding = torch.zeros_like(variance)
        if self.covariance in ("full", "tied"):
            cholesky, rounding = self._factor(variance)
            rows, columns = torch.tril_indices(self.features, self.features, -1)
            self.below.copy_(cholesky[..., rows, columns])
            variance = cholesky.diagonal(dim1=-2, dim2=-1).square()
        least = self.floor * (1.0 - 1e-6) - rounding.clamp(max=0.01 * self.floor)
        if not (variance >= least).all():
            raise ValueError(
                f"the least variance given is {float(variance.min()):g}, below the floor of {self.floor:g}: "
                "make the mixture with a lower floor"
            )
        tiny = torch.finfo(self.log_variance.dtype).tiny
        self.log_variance.copy_((variance - self.floor).clamp(min=tiny).log())

    def _factor(self, covariances: Tensor) -> tuple[Tensor, Tensor]:
        """The lower triangular factors of covariances, and the rounding of their squared diagonals."""
        factors, failed = torch.linalg.cholesky_ex(covariances)
        # What is left of a column once others are taken out has the rounding of all its variance.
        whole = covariances.diagonal(dim1=-2, dim2=-1)
        rounding = 10 * self.features * torch.finfo(covariances.dtype).eps * whole
        left = factors.diagonal(dim1=-2, dim2=-1).square()
        if failed.any() or ((left < rounding) & (rounding > 0.01 * self.floor)).any():
            raise ValueError(
                "a covariance is not positive definite: where columns are combinations of others, the floor "
                f"of {self.floor:g} is lost in rounding beside variances of up to {whole.max():g}. Scale the "
                "columns, raise the floor or use covariance='diagonal'"
            )
        return factors, rounding
