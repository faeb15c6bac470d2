"""A VAE whose prior is a learned mixture of normals."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae.decoder import Decoder
from pyrovae.densities.missing import observe
from pyrovae.families import positive, positive_inverse
from pyrovae.likelihoods import LikelihoodName
from pyrovae.programs import data_plate
from pyrovae.registry.plain import whole_numbers


class MixturePriorVAE(PyroModule):
    r"""A VAE whose prior is a learned mixture of normals: between a mixture and a VAE.

    .. math:: p(z) = \sum_c \pi_c \, N(z; \mu_c, \text{diag}\, \sigma_c^2), \qquad
              x \mid z \sim p(x;\, \text{decoder}(z))

    The component is summed out, so that z is the only latent site. ``NaN`` in x is missing, and integrated
    out.

    Args:
        features: D, observed dimensions.
        latent: L, latent dimensions.
        components: C, normals in the prior; with one it is a VAE.
        hidden: sizes of the decoder's hidden layers, from z to x.
        activation: what follows each hidden layer.
        likelihood: of x given z, one of those of `pyrovae.models.VAE`.
        scale: of ``"fixed_gaussian"`` or ``"bounded_gaussian"``, in units of x.
        floor: the least scale that a likelihood may learn, in units of x.
        levels: grey levels of ``"discretised_logistic"``.

    Raises:
        ValueError: an unknown likelihood or activation, a size below 1, or a scale or floor not above 0.
        TypeError: an option that the likelihood has not.

    Source: Deep unsupervised clustering with Gaussian mixture variational autoencoders (Dilokthanakul et
    al., 2016); VAE with a VampPrior (Tomczak & Welling, 2018), where it is the MoG prior.

    How to read it: `category` says which normal of the prior a z belongs to, a clustering of the data.

    Example:
        >>> import torch
        >>> model = MixturePriorVAE(64, latent=2, components=3)
        >>> model.category(torch.zeros(5, 2)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        features: int,
        *,
        latent: int = 10,
        components: int = 10,
        hidden: Sequence[int] = (200, 200),
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
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(
            torch.randn(components, latent) if components > 1 else torch.zeros(1, latent)
        )
        self.raw_scale = nn.Parameter(torch.zeros(components, latent))

    def prior(self) -> TorchDistribution:
        """p(z), event shape (L,)."""
        each = dist.Normal(self.loc, positive(self.raw_scale)).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), each)

    @torch.no_grad()
    def set_prior(self, weights: Tensor, loc: Tensor, scale: Tensor) -> None:
        """Set the prior, such as to a mixture fitted to the codes of a VAE: a start that uses all components.

        Args:
            weights: (C,), above 0, of sum 1.
            loc: (C, L).
            scale: (C, L), above 0.
        """
        self.logits.copy_(weights.log())
        self.loc.copy_(loc)
        self.raw_scale.copy_(positive_inverse(scale))

    def category(self, z: Tensor) -> Tensor:
        """p(c | z), which component of the prior each ``z`` (..., L) is from: (..., C)."""
        prior = self.prior()
        log_joint = prior.mixture_distribution.logits + prior.component_distribution.log_prob(
            z.unsqueeze(-2)
        )
        return log_joint.softmax(-1)

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
