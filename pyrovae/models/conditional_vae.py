"""A VAE of some columns of the data given the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae.decoder import Decoder
from pyrovae.densities.given import Given
from pyrovae.densities.missing import any_missing, check_columns, filled, marginal, shown
from pyrovae.families import make_family
from pyrovae.likelihoods import LikelihoodName
from pyrovae.networks.mlp import MLP
from pyrovae.programs import data_plate
from pyrovae.sources.tables import rows_for


class ConditionalVAE(PyroModule):
    r"""A VAE of some columns of the data given the others: a class label, or a part of an image.

    .. math:: x = (y, c), \qquad z \mid c \sim N(0, I_L) \text{ or } N(\mu(c), \text{diag}\, \sigma^2(c)),
              \qquad y \mid z, c \sim p(y;\, \text{decoder}(z, c))

    Since the condition c is columns of x, every guide, objective and estimator takes it as it takes any
    data; `pyrovae.guides.Amortized` is then an encoder of both, q(z | y, c). ``NaN`` in y is missing, and
    integrated out; in c it is shown to the networks as 0.

    Args:
        features: D, all columns of x, those of the condition included.
        latent: L, latent dimensions.
        condition: which columns are given: a number for the last so many, or a list of column numbers, in
            whose order `generate` takes them; no mask.
        conditional_prior: whether the prior of z depends on the condition.
        hidden: sizes of the decoder's hidden layers, and of the prior's.
        activation: what follows each hidden layer.
        likelihood: of y, one of those of `pyrovae.models.VAE`.
        scale: of ``"fixed_gaussian"`` or ``"bounded_gaussian"``, in units of x.
        floor: the least scale that a likelihood may learn, in units of x.
        levels: grey levels of ``"discretised_logistic"``.

    Raises:
        ValueError: columns that x has not, or that leave nothing to model; an unknown likelihood or
            activation; a size below 1.
        TypeError: an option that the likelihood has not.

    Source: Learning structured output representation using deep conditional generative models (Sohn, Lee &
    Yan, 2015); Semi-supervised learning with deep generative models (Kingma, Rezende, Mohamed & Welling,
    2014), its M2 with all labels seen.

    How to read it: its evidence is log p(y | c), larger than the log p(y) of a VAE of y by what c tells.

    Example:
        >>> import torch
        >>> model = ConditionalVAE(64 + 10, latent=2, condition=10)
        >>> model.generate(torch.eye(10), seed=0).shape
        torch.Size([10, 74])
    """

    free: Tensor
    given: Tensor

    def __init__(
        self,
        features: int,
        *,
        latent: int = 10,
        condition: int | Sequence[int] = 10,
        conditional_prior: bool = False,
        hidden: Sequence[int] = (200, 200),
        activation: str = "relu",
        likelihood: LikelihoodName = "gaussian",
        scale: float | None = None,
        floor: float | None = None,
        levels: int | None = None,
    ) -> None:
        super().__init__()
        asked, left = _columns(features, condition)
        given = sorted(asked)
        self.order = [asked.index(column) for column in given]
        self.features = features
        self.latent = latent
        self.likelihood = likelihood
        self.register_buffer("given", torch.tensor(given), persistent=False)
        self.register_buffer("free", torch.tensor(left), persistent=False)
        self.family = make_family("diagonal", latent)
        self.conditional_prior = conditional_prior
        if conditional_prior:
            self.prior_network = MLP(
                len(given), self.family.size, hidden=hidden, activation=activation
            )
            nn.init.zeros_(self.prior_network.last.weight)
        self.decoder = Decoder(
            latent + len(given),
            len(left),
            hidden=hidden,
            activation=activation,
            likelihood=likelihood,
            scale=scale,
            floor=floor,
            levels=levels,
        )

    def prior_given(self, condition: Tensor) -> TorchDistribution:
        """p(z | c) for ``condition`` (..., C), in the order of the columns of x, event shape (L,)."""
        if self.conditional_prior:
            return self.family.distribution(self.prior_network(condition))
        origin = condition.new_zeros(*condition.shape[:-1], self.latent)
        return dist.Normal(origin, torch.ones_like(origin)).to_event(1)

    def decode_given(self, z: Tensor, condition: Tensor) -> TorchDistribution:
        """p(y | z, c) for ``z`` (..., L) and ``condition`` (..., C), event shape (D - C,)."""
        condition = condition.expand(*z.shape[:-1], -1)
        return self.decoder.distribution(torch.cat([z, condition], -1))

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z and observe the columns of ``x`` (B, D) that are not given."""
        check_columns(x, self.features)
        condition = shown(x[:, self.given], self.decoder)
        with data_plate(len(x), index, size):
            z: Tensor = pyro.sample("z", self.prior_given(condition))
            rest = self.decode_given(z, condition)
            if any_missing(x):
                rest = marginal(rest, ~x[:, self.free].isnan())
            pyro.sample("x", Given(rest, condition, self.free, self.given), obs=filled(x))
        return z

    @torch.no_grad()
    def generate(self, condition: Tensor, *, seed: int = 0, mean: bool = False) -> Tensor:
        """Draw a row for each condition, from p(y, z | c).

        Args:
            condition: (M, C), one condition for each row that is wanted, in the order in which the columns
                were named.
            seed: of the draws; the global random state is left as it was.
            mean: whether y is the mean of p(y | z, c), without the noise of the pixels.

        Returns:
            (M, D), in units of x: whole rows, the condition in its columns.

        Raises:
            ValueError: a condition of another width.
        """
        if condition.shape[1:] != (len(self.order),):
            raise ValueError(
                f"the condition has the shape {tuple(condition.shape)}: expected (M, {len(self.order)})"
            )
        condition = condition.to(self.decoder.output_bias)[:, self.order]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            z = self.prior_given(condition).sample()
            rows = Given(self.decode_given(z, condition), condition, self.free, self.given)
            result: Tensor = rows.mean if mean else rows.sample()
        return result

    def check_data(self, x: Tensor) -> None:
        """Refuse data that the likelihood cannot score, before any work starts.

        Raises:
            ValueError: such as grey values under a Bernoulli decoder.
        """
        self.decoder.likelihood.check(x[:, self.free])

    def initialise(self, x: Tensor, seed: int = 0) -> None:
        """Start the decoder's output at the mean and the spread of ``x`` (N, D)."""
        del seed
        x = rows_for(self, x)
        self.decoder.initialise(x[:, self.free])


def _columns(features: int, condition: int | Sequence[int]) -> tuple[list[int], list[int]]:
    """The columns that are given, and those that are left."""
    asked = np.asarray(condition)
    if asked.size and asked.dtype.kind not in "iu":
        raise ValueError(
            f"condition is of {asked.dtype}: give a whole number, or the numbers of the columns (of a mask, "
            "mask.nonzero()[0])"
        )
    numbers = asked.tolist()
    given = list(dict.fromkeys(numbers if asked.ndim else range(features - numbers, features)))
    left = [column for column in range(features) if column not in given]
    if not given or not left or min(given) < 0 or max(given) >= features:
        raise ValueError(
            f"condition is {condition}, of {features} columns: at least one must be given, and at least one "
            "be left to model"
        )
    return given, left
