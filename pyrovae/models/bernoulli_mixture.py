"""A mixture of Bernoullis, for binary images."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae.densities.missing import any_missing, check_columns, filled, log_prob, observe
from pyrovae.likelihoods import make_likelihood
from pyrovae.likelihoods.pixels import BinaryPixels
from pyrovae.programs import data_plate
from pyrovae.registry.plain import whole_numbers
from pyrovae.sources.tables import rows_for


class BernoulliMixture(PyroModule):
    r"""A mixture of Bernoullis: a category picks one of C images of pixel probabilities.

    .. math:: z \sim \text{Categorical}(\pi), \qquad x_d \mid z \sim \text{Bernoulli}(p_{zd}), \qquad
              p(x) = \sum_c \pi_c \prod_d p_{cd}^{x_d} (1 - p_{cd})^{1 - x_d}

    ``z`` is marked for enumeration: under a guide that does not draw it, it is summed out exactly.
    ``NaN`` in x is a missing pixel: integrated out, or a latent site of its own.

    Args:
        features: D, binary pixels.
        components: C, images.
        draw_missing: whether missing pixels are a latent site ``"pixels"``, which a guide such as
            `pyrovae.guides.MissingPixels` draws, rather than integrated out.

    Raises:
        ValueError: a size below 1.

    Source: Pattern recognition and machine learning (Bishop, 2006), section 9.3.3.

    How to read it: the model of binary images whose evidence, posterior and distribution of missing pixels
    are all exact.

    Example:
        >>> import torch
        >>> model = BernoulliMixture(5, components=3)
        >>> model.missing_probabilities(torch.tensor([[0.0, 1.0, torch.nan, 1.0, 0.0]])).shape
        torch.Size([1, 5])
    """

    def __init__(self, features: int, *, components: int = 10, draw_missing: bool = False) -> None:
        super().__init__()
        whole_numbers(features=features, components=components)
        self.features = features
        self.components = components
        self.latent = components
        self.draw_missing = draw_missing
        self.logits = nn.Parameter(torch.zeros(components))
        self.pixel_logits = nn.Parameter(torch.randn(components, features))

    def prior(self) -> TorchDistribution:
        """p(z), event shape ()."""
        return dist.Categorical(logits=self.logits)

    def decode(self, z: Tensor) -> TorchDistribution:
        """p(x | z) for categories ``z`` (...,), event shape (D,)."""
        return BinaryPixels(logits=self.pixel_logits[z]).to_event(1)

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z, and missing pixels if they are latent, and observe ``x``: (B, D)."""
        with data_plate(len(x), index, size):
            z: Tensor = pyro.sample("z", self.prior(), infer={"enumerate": "parallel"})
            image = self.decode(z)
            if self.draw_missing:
                pyro.sample("pixels", image.base_dist.mask(x.isnan()).to_event(1))
            observe("x", image, x)
        return z

    def log_joint(self, x: Tensor) -> Tensor:
        """Log p(x, z) for every category: (B, C), in nats."""
        check_columns(x, self.features)
        every = torch.arange(self.components, device=x.device)
        return self.logits.log_softmax(-1) + log_prob(self.decode(every), x.unsqueeze(-2))

    def posterior(self, x: Tensor) -> TorchDistribution:
        """p(z | x), the responsibilities, for each row of ``x``: event shape ()."""
        return dist.Categorical(logits=self.log_joint(x))

    def exact_log_evidence(self, x: Tensor) -> Tensor:
        """Log p(x) of each row of ``x`` (B, D): shape (B,), in nats."""
        return self.log_joint(x).logsumexp(-1)

    def missing_probabilities(self, x: Tensor) -> Tensor:
        """The exact p(pixel = 1 | what is observed of its row), for every pixel of ``x``: (B, D)."""
        probabilities = self.posterior(x).probs @ self.pixel_logits.sigmoid()
        return torch.where(x.isnan(), probabilities, x)

    def check_data(self, x: Tensor) -> None:
        """Refuse values other than 0 and 1.

        Raises:
            ValueError: there are some.
        """
        make_likelihood("bernoulli", self.features).check(x)

    @torch.no_grad()
    def initialise(self, x: Tensor, seed: int = 0) -> None:
        """Start from C random rows of ``x`` (N, D), half way to the mean of all."""
        x = rows_for(self, x)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(x), generator=generator)[: self.components].to(x.device)
        x = x.to(self.pixel_logits)
        mean = x.nanmean(0).nan_to_num(0.5)
        chosen = x[rows.repeat(-(-self.components // len(rows)))[: self.components]]
        chosen = torch.where(chosen.isnan(), mean, chosen) if any_missing(x) else chosen
        self.pixel_logits.copy_((0.5 * (mean + chosen)).clamp(0.05, 0.95).logit())
        self.logits.zero_()

    @torch.no_grad()
    def maximise_likelihood(self, x: Tensor, responsibilities: Tensor) -> None:
        """The M-step of EM, from ``x`` (N, D) and p(z | x) (N, C); missing pixels do not count.

        Half a white and half a black pixel are added to each count, so that no probability is 0 or 1.
        """
        x = x.to(self.pixel_logits)
        responsibilities = responsibilities.to(x)
        counts = responsibilities.sum(0)
        observed = responsibilities.mT @ (~x.isnan()).to(x) if any_missing(x) else counts[:, None]
        pixels = (responsibilities.mT @ filled(x) + 0.5) / (observed + 1.0)
        self.pixel_logits.copy_(pixels.logit())
        self.logits.copy_((counts + 1e-9).log())
