"""A VAE with two layers of latent variables."""

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
from pyrovae.families import make_family
from pyrovae.likelihoods import LikelihoodName
from pyrovae.networks.mlp import MLP
from pyrovae.programs import data_plate
from pyrovae.registry.plain import whole_numbers


class HierarchicalVAE(PyroModule):
    r"""Two normal latent vectors, the upper decoded to the lower and the lower to the data.

    .. math:: z_2 \sim N(0, I_L), \qquad z_1 \mid z_2 \sim N(\mu(z_2), \text{diag}\, \sigma^2(z_2)), \qquad
              x \mid z_1 \sim p(x;\, \text{decoder}(z_1))

    Its sites are ``"z2"``, ``"z1"`` and ``"x"``; `pyrovae.guides.Hierarchical` goes with it. ``NaN`` in x
    is missing, and integrated out.

    Args:
        features: D, observed dimensions.
        latent: L, dimensions of z2.
        lower: dimensions of z1.
        hidden: sizes of the hidden layers from z1 to x.
        upper_hidden: sizes of the hidden layers from z2 to z1.
        activation: what follows each hidden layer.
        likelihood: of x given z1, one of those of `pyrovae.models.VAE`.
        scale: of ``"fixed_gaussian"`` or ``"bounded_gaussian"``, in units of x.
        floor: the least scale that a likelihood may learn, in units of x.
        levels: grey levels of ``"discretised_logistic"``.

    Raises:
        ValueError: an unknown likelihood or activation, a size below 1, or a scale or floor not above 0.
        TypeError: an option that the likelihood has not.

    Source: Importance weighted autoencoders (Burda, Grosse & Salakhutdinov, 2016), the model with two
    stochastic layers, whose sizes are the defaults.

    How to read it: the posterior of z2 given z1 no longer depends on x, so a second layer pays only as
    far as one normal is a poor prior for z1.

    Example:
        >>> import torch
        >>> model = HierarchicalVAE(64, latent=2, lower=4)
        >>> model.decode_lower(torch.zeros(3, 4)).mean.shape
        torch.Size([3, 64])
    """

    def __init__(
        self,
        features: int,
        *,
        latent: int = 50,
        lower: int = 100,
        hidden: Sequence[int] = (200, 200),
        upper_hidden: Sequence[int] = (100, 100),
        activation: str = "tanh",
        likelihood: LikelihoodName = "bernoulli",
        scale: float | None = None,
        floor: float | None = None,
        levels: int | None = None,
    ) -> None:
        super().__init__()
        whole_numbers(latent=latent, lower=lower)
        self.features = features
        self.latent = latent
        self.lower = lower
        self.likelihood = likelihood
        self.family = make_family("diagonal", lower)
        self.upper = MLP(latent, self.family.size, hidden=upper_hidden, activation=activation)
        self.decoder = Decoder(
            lower,
            features,
            hidden=hidden,
            activation=activation,
            likelihood=likelihood,
            scale=scale,
            floor=floor,
            levels=levels,
        )

    def upper_prior(self) -> TorchDistribution:
        """p(z2), event shape (L,)."""
        origin = self.decoder.output_bias.new_zeros(self.latent)
        return dist.Normal(origin, torch.ones_like(origin)).to_event(1)

    def lower_prior(self, z2: Tensor) -> TorchDistribution:
        """p(z1 | z2) for ``z2`` (..., L), event shape (lower,)."""
        return self.family.distribution(self.upper(z2))

    def decode_lower(self, z1: Tensor) -> TorchDistribution:
        """p(x | z1) for ``z1`` (..., lower), event shape (D,)."""
        return self.decoder.distribution(z1)

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z2 and z1, and observe ``x``: (B, D)."""
        with data_plate(len(x), index, size):
            z2: Tensor = pyro.sample("z2", self.upper_prior())
            z1: Tensor = pyro.sample("z1", self.lower_prior(z2))
            observe("x", self.decode_lower(z1), x)
        return z1

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
