"""A VAE whose prior is its own encoder's answer to learned pseudo-inputs."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae.decoder import Decoder
from pyrovae.densities.missing import mean_and_scale, observe, shown
from pyrovae.families import make_family
from pyrovae.likelihoods import LikelihoodName
from pyrovae.networks.mlp import MLP
from pyrovae.programs import data_plate
from pyrovae.registry.plain import whole_numbers
from pyrovae.sources.tables import rows_for


class VampPriorVAE(PyroModule):
    r"""A VAE whose prior is its own encoder's answer to learned pseudo-inputs.

    .. math:: p(z) = \frac1C \sum_{c=1}^{C} q(z \mid u_c), \qquad x \mid z \sim p(x;\, \text{decoder}(z))

    The prior needs the encoder, so the model brings it along: `pyrovae.guides.ModelEncoder` is the guide
    that uses it. ``NaN`` in x is missing, and integrated out.

    Args:
        features: D, observed dimensions.
        latent: L, latent dimensions.
        components: C, pseudo-inputs.
        hidden: sizes of the decoder's hidden layers, from z to x.
        encoder_hidden: sizes of the encoder's hidden layers, from x to z.
        activation: what follows each hidden layer.
        likelihood: of x given z, one of those of `pyrovae.models.VAE`.
        scale: of ``"fixed_gaussian"`` or ``"bounded_gaussian"``, in units of x.
        floor: the least scale that a likelihood may learn, in units of x.
        levels: grey levels of ``"discretised_logistic"``.

    Raises:
        ValueError: an unknown likelihood or activation, a size below 1, or a scale or floor not above 0.
        TypeError: an option that the likelihood has not.

    Source: VAE with a VampPrior (Tomczak & Welling, 2018).

    How to read it: the best prior for a given encoder is the mean of its posteriors over all data; this is
    that mean over C learned rows, ``pseudo_inputs``, which look like typical data.

    Example:
        >>> import torch
        >>> model = VampPriorVAE(64, latent=2, components=3)
        >>> model.prior().sample().shape
        torch.Size([2])
    """

    def __init__(
        self,
        features: int,
        *,
        latent: int = 10,
        components: int = 50,
        hidden: Sequence[int] = (200, 200),
        encoder_hidden: Sequence[int] = (200, 200),
        activation: str = "relu",
        likelihood: LikelihoodName = "gaussian",
        scale: float | None = None,
        floor: float | None = None,
        levels: int | None = None,
    ) -> None:
        super().__init__()
        whole_numbers(components=components)
        self.features = features
        self.latent = latent
        self.components = components
        self.likelihood = likelihood
        self.family = make_family("diagonal", latent)
        self.prior_encoder = MLP(
            features, self.family.size, hidden=encoder_hidden, activation=activation
        )
        self.decoder = Decoder(
            latent,
            features,
            hidden=hidden,
            activation=activation,
            likelihood=likelihood,
            scale=scale,
            floor=floor,
            levels=levels,
        )
        self.pseudo_inputs = nn.Parameter(0.1 * torch.randn(components, features))

    def encode(self, x: Tensor) -> TorchDistribution:
        """q(z | x) of the model's own encoder, for each row of ``x``: event shape (L,)."""
        return self.family.distribution(self.prior_encoder(shown(x, self.prior_encoder)))

    def prior(self) -> TorchDistribution:
        """p(z), event shape (L,)."""
        weights = dist.Categorical(logits=self.pseudo_inputs.new_zeros(self.components))
        return dist.MixtureSameFamily(weights, self.encode(self.pseudo_inputs))

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

    @torch.no_grad()
    def initialise(self, x: Tensor, seed: int = 0) -> None:
        """Start the decoder's output where ``x`` (N, D) is, and the pseudo-inputs at rows of it."""
        x = rows_for(self, x)
        self.decoder.initialise(x)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(x), (self.components,), generator=generator)
        chosen = x[rows.to(x.device)]
        self.pseudo_inputs.copy_(torch.where(chosen.isnan(), mean_and_scale(x)[0], chosen))
