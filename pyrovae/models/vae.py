"""The variational autoencoder's generative half."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor

from pyrovae.decoder import Decoder
from pyrovae.densities.missing import observe
from pyrovae.likelihoods import LikelihoodName
from pyrovae.networks.architectures import Architecture
from pyrovae.programs import data_plate


class VAE(PyroModule):
    r"""A normal latent vector, decoded by a network: the generative half of a variational autoencoder.

    .. math:: z \sim N(0, I_L), \qquad x \mid z \sim p(x;\, \text{decoder}(z))

    ``NaN`` in x is missing, and integrated out.

    Args:
        features: D, observed dimensions.
        latent: L, latent dimensions.
        hidden: sizes of the decoder's hidden layers, from z to x; for convolutions, their channels. Without
            any, and likelihood ``"bounded_gaussian"``, it is the simplest VAE there is.
        activation: what follows each hidden layer.
        likelihood: ``"gaussian"`` learns a mean and a scale of each dimension as functions of z,
            ``"fixed_gaussian"`` a mean alone, ``"bounded_gaussian"`` a mean in (0, 1) and a variance in
            (1, e), ``"student_t"`` heavier tails; ``"bernoulli"`` is for binary pixels,
            ``"continuous_bernoulli"`` for grey ones on [0, 1], ``"discretised_logistic"`` for grey levels.
        scale: of ``"fixed_gaussian"`` (0.1 by default) or ``"bounded_gaussian"`` (1), in units of x.
        floor: the least scale that ``"gaussian"`` (0.01 by default), ``"student_t"`` (0.001) or
            ``"discretised_logistic"`` (0.001) may learn, in units of x; without it a dimension that is
            constant has unbounded density.
        levels: grey levels of ``"discretised_logistic"``, 256 by default.
        network: ``"mlp"`` or ``"convolutional"``.
        shape: height and width of the image, for convolutions; a square if not given.

    Raises:
        ValueError: an unknown likelihood, activation or network, a size below 1, or a scale or floor not
            above 0.
        TypeError: an option that the likelihood or the network has not.

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
        likelihood: LikelihoodName = "gaussian",
        scale: float | None = None,
        floor: float | None = None,
        levels: int | None = None,
        network: Architecture = "mlp",
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.features = features
        self.latent = latent
        self.likelihood = likelihood
        self.decoder = Decoder(
            latent,
            features,
            hidden=hidden,
            activation=activation,
            likelihood=likelihood,
            network=network,
            shape=shape,
            scale=scale,
            floor=floor,
            levels=levels,
        )

    def prior(self) -> TorchDistribution:
        """p(z), event shape (L,)."""
        origin = self.decoder.output_bias.new_zeros(self.latent)
        return dist.Normal(origin, torch.ones_like(origin)).to_event(1)

    def decode(self, z: Tensor) -> TorchDistribution:
        """p(x | z) for ``z`` (..., L), event shape (D,)."""
        return self.decoder.distribution(z)

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z and observe ``x``: (B, D)."""
        with data_plate(len(x), index, size):
            z: Tensor = pyro.sample("z", self.prior())
            observe("x", self.decode(z), x)
        return z

    def check_data(self, x: Tensor) -> None:
        """Refuse data that the likelihood cannot score, before any work starts.

        Raises:
            ValueError: such as grey values under a Bernoulli decoder.
        """
        self.decoder.likelihood.check(x)

    def initialise(self, x: Tensor, seed: int = 0) -> None:
        """Start the decoder's output at the mean and the spread of ``x`` (N, D)."""
        del seed
        self.decoder.initialise(x)
