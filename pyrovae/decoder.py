"""A network and a likelihood: from z to p(x | z), for every model that decodes with a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn

from pyrovae.likelihoods import make_likelihood
from pyrovae.networks.architectures import Architecture, make_decoder
from pyrovae.registry.plain import whole_numbers
from pyrovae.sources.tables import rows_for


class Decoder(nn.Module):
    """A network from z to the parameters of p(x | z), and the likelihood that knows what they mean.

    Args:
        inputs: size of what is decoded: L, and what is given beside it.
        features: D, observed dimensions.
        hidden: sizes of the hidden layers, or channels of the convolutions, from z to x.
        activation: what follows each hidden layer.
        likelihood: one of `pyrovae.likelihoods.LIKELIHOODS`.
        network: ``"mlp"`` or ``"convolutional"``.
        shape: height and width of the image, for convolutions; a square if None.
        **options: of the likelihood; those that are None were not given.

    Raises:
        ValueError: an unknown likelihood, activation or network, or a size below 1.
        TypeError: an option that does not apply.

    Example:
        >>> decoder = Decoder(2, 64, hidden=(8,), activation="relu", likelihood="bernoulli")
        >>> decoder.distribution(torch.zeros(3, 2)).mean.shape
        torch.Size([3, 64])
    """

    def __init__(
        self,
        inputs: int,
        features: int,
        *,
        hidden: Sequence[int],
        activation: str,
        likelihood: str,
        network: Architecture = "mlp",
        shape: Sequence[int] | None = None,
        **options: float | None,
    ) -> None:
        super().__init__()
        whole_numbers(features=features, latent=inputs)
        self.likelihood = make_likelihood(likelihood, features, **options)
        self.network = make_decoder(
            inputs,
            features,
            planes=self.likelihood.size // features,
            hidden=hidden,
            activation=activation,
            network=network,
            shape=shape,
        )

    def forward(self, z: Tensor) -> Tensor:
        """The parameters of the likelihood: (..., inputs) -> (..., size)."""
        parameters: Tensor = self.network(z)
        return parameters

    def distribution(self, z: Tensor) -> TorchDistribution:
        """p(x | z) for ``z`` (..., inputs), event shape (D,)."""
        return self.likelihood.distribution(self(z))

    @property
    def output_bias(self) -> Tensor:
        """What is added to the parameters at the very end, (size,)."""
        bias: Tensor = self.network.output_bias  # type: ignore[assignment]
        return bias

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start the output where the data ``x`` (N, D) are."""
        start = self.likelihood.start(rows_for(self.likelihood, x))
        self.output_bias.copy_(start)
