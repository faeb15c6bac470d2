"""Probabilistic principal component analysis."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae.densities.missing import (
    any_missing,
    check_columns,
    filled,
    floating,
    mean_and_scale,
    observe,
)
from pyrovae.families import positive, positive_inverse
from pyrovae.programs import data_plate
from pyrovae.registry.plain import whole_numbers
from pyrovae.sources.tables import rows_for


class ProbabilisticPCA(PyroModule):
    r"""Probabilistic principal component analysis: a linear map of a normal, plus noise.

    .. math:: z \sim N(0, I_L), \qquad x \mid z \sim N(W z + \mu, \sigma^2 I_D), \qquad
              p(x) = N(\mu, W W^\top + \sigma^2 I)

    Args:
        features: D, observed dimensions.
        latent: L, latent dimensions.

    Raises:
        ValueError: a size below 1.

    Source: Probabilistic principal component analysis (Tipping & Bishop, 1999).

    How to read it: the simplest continuous latent-variable model; evidence, posterior and maximum
    likelihood are all known in closed form, so it checks every approximation.

    Example:
        >>> import torch
        >>> x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
        >>> model = ProbabilisticPCA(5, latent=2)
        >>> model.maximise_likelihood(x)
        >>> model.exact_log_evidence(x).shape
        torch.Size([100])
    """

    def __init__(self, features: int, *, latent: int = 10) -> None:
        super().__init__()
        whole_numbers(features=features, latent=latent)
        self.features = features
        self.latent = latent
        self.loc = nn.Parameter(torch.zeros(features))
        self.weight = nn.Parameter(0.1 * torch.randn(features, latent))
        self.raw_scale = nn.Parameter(torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        """Standard deviation of the noise, a scalar, in units of x."""
        return positive(self.raw_scale)

    def prior(self) -> TorchDistribution:
        """p(z), event shape (L,)."""
        return dist.Normal(self.loc.new_zeros(self.latent), 1.0).to_event(1)

    def decode(self, z: Tensor) -> TorchDistribution:
        """p(x | z) for ``z`` (..., L), event shape (D,)."""
        return dist.Normal(z @ self.weight.mT + self.loc, self.scale).to_event(1)

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z and observe ``x``: (B, D)."""
        with data_plate(len(x), index, size):
            z: Tensor = pyro.sample("z", self.prior())
            observe("x", self.decode(z), x)
        return z

    def _precision(self, x: Tensor) -> Tensor:
        """M = W' W + sigma^2 I over the observed dimensions: (L, L), or (B, L, L) if some are missing."""
        eye = torch.eye(self.latent, dtype=self.loc.dtype, device=self.loc.device)
        gram = self.weight.mT @ self.weight
        if any_missing(x):
            pairs = (self.weight.unsqueeze(-1) * self.weight.unsqueeze(-2)).flatten(1)
            gram = ((~x.isnan()).to(pairs.dtype) @ pairs).unflatten(-1, gram.shape)
        return gram + self.scale.square() * eye

    def _centred(self, x: Tensor) -> Tensor:
        """x - mu, and 0 for what is missing."""
        check_columns(x, self.features)
        # Subtracted in the precision of x: columns far from 0 keep their digits.
        return filled((floating(x) - self.loc).to(self.loc.dtype))

    def _posterior_loc(self, centred: Tensor, cholesky: Tensor) -> Tensor:
        """M^-1 W' (x - mu), (B, L): with a factor of M for all rows, or one of each row's own."""
        right = centred @ self.weight
        if cholesky.ndim == 2 and right.ndim == 2:
            return torch.cholesky_solve(right.mT, cholesky).mT
        return torch.cholesky_solve(right.unsqueeze(-1), cholesky).squeeze(-1)

    def posterior(self, x: Tensor) -> TorchDistribution:
        """p(z | x) = N(M^-1 W' (x - mu), sigma^2 M^-1) for each row of ``x``: event shape (L,)."""
        precision = self._precision(x)
        loc = self._posterior_loc(self._centred(x), torch.linalg.cholesky(precision))
        # From the precision, whose inverse is never factored; one factor for all rows, if they share it. It
        # is symmetric but for rounding, which torch's validation takes for an error where the noise is small.
        centred = dist.MultivariateNormal(
            self.loc.new_zeros(self.latent),
            precision_matrix=precision / self.scale.square(),
            validate_args=False,
        )
        return dist.MultivariateNormal(loc, scale_tril=centred.scale_tril)

    def exact_log_evidence(self, x: Tensor) -> Tensor:
        """Log p(x) of each row of ``x`` (B, D): shape (B,), in nats; costs B D L, not B D^2."""
        centred = self._centred(x)
        variance = self.scale.square()
        cholesky = torch.linalg.cholesky(self._precision(x))
        loc = self._posterior_loc(centred, cholesky)
        # Of what W z leaves over and of z: the square of x less that of what z explains has no digits left
        # where the noise is small.
        residual = centred - loc @ self.weight.mT
        observed: Tensor | int = self.features
        if any_missing(x):
            observed = (~x.isnan()).sum(-1).to(centred.dtype)
            residual = torch.where(x.isnan(), 0.0, residual)
        quadratic = residual.square().sum(-1) / variance + loc.square().sum(-1)
        log_det = 2.0 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_det = log_det + (observed - self.latent) * variance.log()
        return -0.5 * (observed * math.log(2.0 * math.pi) + log_det + quadratic)

    @torch.no_grad()
    def initialise(self, x: Tensor, seed: int = 0) -> None:
        """Put the mean and the noise where the data ``x`` (N, D) are; ``seed`` draws the weights."""
        x = rows_for(self, x)
        generator = torch.Generator().manual_seed(seed)
        mean, scale = mean_and_scale(x)
        spread = scale.square().mean().sqrt()
        self.loc.copy_(mean)
        self.weight.copy_(0.1 * spread * torch.randn(self.weight.shape, generator=generator))
        # Data that do not vary at all leave no scale to start from.
        self.raw_scale.copy_(positive_inverse(spread.clamp(min=1e-3)))

    @torch.no_grad()
    def maximise_likelihood(self, x: Tensor) -> None:
        """Set the parameters to the closed-form maximum of the likelihood of ``x`` (N, D).

        Raises:
            ValueError: rows of infinite values or of another width; no dimension is left for the noise
                (latent is not below features), or the data have none but what rounding made.
        """
        if self.latent >= self.features:
            raise ValueError(
                f"latent is {self.latent} and features {self.features}: the maximum of the likelihood "
                "needs at least one dimension of noise"
            )
        x = rows_for(self, x)
        if any_missing(x):
            raise ValueError(
                "the data have missing values (NaN), for which the maximum has no closed form: use "
                "pyrovae.fit with guides.ExactPosterior(model)"
            )
        rounding = torch.finfo(x.dtype).eps
        x = x.double()
        loc = x.mean(0)
        centred = x - loc
        covariance = centred.mT @ centred / len(x)
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values.flip(0), vectors.flip(1)
        variance = values[self.latent :].mean()
        lost = self.features * torch.finfo(values.dtype).eps * values[0]
        if not variance > torch.maximum(lost, (rounding * x.abs().max()).square()):
            raise ValueError(
                f"the data vary in no more than {self.latent} directions, so the noise has no best scale: "
                "use fewer latent dimensions"
            )
        kept = (values[: self.latent] - variance).clamp(min=0.0).sqrt()
        self.loc.copy_(loc)
        self.weight.copy_(vectors[:, : self.latent] * kept)
        self.raw_scale.copy_(positive_inverse(variance.sqrt()))
