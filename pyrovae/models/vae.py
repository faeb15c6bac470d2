"""The variational autoencoder's generative half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor

from pyrovae.families import positive, positive_inverse
from pyrovae.networks import MLP
from pyrovae.programs import data_plate

Likelihood = Literal["gaussian", "fixed_gaussian", "bernoulli"]
LIKELIHOODS: tuple[Likelihood, ...] = ("gaussian", "fixed_gaussian", "bernoulli")


class VAE(PyroModule):
    r"""A normal latent vector, decoded by a network: the generative half of a variational autoencoder.

    .. math:: z \sim N(0, I_L), \qquad x \mid z \sim p(x;\, \text{decoder}(z))

    Args:
        features: D, observed dimensions.
        latent: L, latent dimensions.
        hidden: sizes of the decoder's hidden layers, from z to x.
        activation: what follows each hidden layer.
        likelihood: ``"gaussian"`` learns a mean and a scale of each dimension as functions of z,
            ``"fixed_gaussian"`` a mean alone, ``"bernoulli"`` the probability of a binary pixel.
        scale: the scale of ``"fixed_gaussian"``, in units of x.
        floor: the least scale of ``"gaussian"``, in units of x; without it a dimension that is constant
            has unbounded density.

    Raises:
        ValueError: an unknown likelihood or activation, a size below 1, or a scale or floor not above 0.

    Source: Auto-encoding variational Bayes (Kingma & Welling, 2014); Stochastic backpropagation and
    approximate inference in deep generative models (Rezende, Mohamed & Wierstra, 2014).

    How to read it: an infinite mixture of Gaussians; its evidence is not known and must be estimated.

    Example:
        >>> import torch
        >>> model = VAE(64, latent=2)
        >>> model.decode(torch.zeros(3, 2)).mean.shape
        torch.Size([3, 64])
    """

    def __init__(
        self,
        features: int,
        *,
        latent: int = 10,
        hidden: Sequence[int] = (200, 200),
        activation: str = "relu",
        likelihood: Likelihood = "gaussian",
        scale: float = 0.1,
        floor: float = 0.01,
    ) -> None:
        super().__init__()
        if features < 1 or latent < 1:
            raise ValueError(f"features is {features} and latent {latent}: each must be at least 1")
        if likelihood not in LIKELIHOODS:
            raise ValueError(
                f"likelihood is {likelihood!r}: the known ones are {', '.join(LIKELIHOODS)}"
            )
        if not (scale > 0 and floor > 0):
            raise ValueError(f"scale is {scale} and floor {floor}: both must be above 0")
        self.features = features
        self.latent = latent
        self.likelihood = likelihood
        self.scale = scale
        self.floor = floor
        outputs = 2 * features if likelihood == "gaussian" else features
        self.decoder = MLP(latent, outputs, hidden=hidden, activation=activation)

    def prior(self) -> TorchDistribution:
        """p(z), event shape (L,)."""
        origin = self.decoder.last.weight.new_zeros(self.latent)
        return dist.Normal(origin, torch.ones_like(origin)).to_event(1)

    def decode(self, z: Tensor) -> TorchDistribution:
        """p(x | z) for ``z`` (..., L), event shape (D,)."""
        output = self.decoder(z)
        if self.likelihood == "bernoulli":
            return dist.Bernoulli(logits=output).to_event(1)
        if self.likelihood == "fixed_gaussian":
            return dist.Normal(output, self.scale).to_event(1)
        loc, raw = output.split(self.features, -1)
        return dist.Normal(loc, self.floor + positive(raw)).to_event(1)

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z and observe ``x``: (B, D)."""
        with data_plate(len(x), index, size):
            z: Tensor = pyro.sample("z", self.prior())
            pyro.sample("x", self.decode(z), obs=x)
        return z

    def check_data(self, x: Tensor) -> None:
        """Refuse data that the likelihood cannot score, before any work starts.

        Raises:
            ValueError: values other than 0 and 1 under a Bernoulli decoder.
        """
        if self.likelihood == "bernoulli" and not ((x == 0) | (x == 1)).all():
            raise ValueError(
                f"the data have values other than 0 and 1 (from {x.min():g} to {x.max():g}), which a "
                "Bernoulli decoder cannot score: binarise them (form='binary'), or use "
                "likelihood='gaussian'"
            )

    @torch.no_grad()
    def initialise(self, x: Tensor, seed: int = 0) -> None:
        """Start the decoder's output at the mean and the spread of ``x`` (N, D)."""
        del seed
        bias, mean = self.decoder.last.bias, x.mean(0)
        if self.likelihood == "bernoulli":
            bias.copy_(mean.clamp(0.001, 0.999).logit())
        elif self.likelihood == "fixed_gaussian":
            bias.copy_(mean)
        else:
            spread = (x.std(0, correction=0) - self.floor).clamp(min=self.floor)
            bias.copy_(torch.cat([mean, positive_inverse(spread)]))
