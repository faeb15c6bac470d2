"""Missing values: ``NaN`` in the data is a value that was not observed, and is integrated out.

Models observe their data with `observe`, guides show it to their networks with `filled`. What is missing
changes neither the density nor the gradient by what happens to stand in its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn

# What a recorded step knows of its arguments, where no value can be looked at.
_known: ContextVar[bool | None] = ContextVar("known_missing", default=None)


def any_missing(x: Tensor) -> bool:
    """Whether any value is NaN.

    Example:
        >>> any_missing(torch.tensor([1.0, math.nan]))
        True
    """
    _check_tensor(x)
    answer = _known.get()
    if answer is not None:
        return answer
    # A sum is four times faster than looking at every value; infinite values may only say yes too often.
    return x.is_floating_point() and math.isnan(x.detach().sum().item())


@contextmanager
def known_missing(answer: bool) -> Iterator[None]:
    """Let `any_missing` give this answer: for a step that is recorded once for data of a kind."""
    token = _known.set(answer)
    try:
        yield
    finally:
        _known.reset(token)


def filled(x: Tensor, value: float = 0.0) -> Tensor:
    """``x`` with ``value`` in place of what is missing.

    Example:
        >>> filled(torch.tensor([1.0, math.nan]))
        tensor([1., 0.])
    """
    return torch.where(x.isnan(), value, x) if any_missing(x) else x


def shown(x: Tensor, network: nn.Module) -> Tensor:
    """``x`` as a network sees it: 0 for what is missing, in the precision of its weights.

    Example:
        >>> shown(torch.tensor([[1, 2]], dtype=torch.uint8), nn.Linear(2, 1))
        tensor([[1., 2.]])
    """
    weight = next(network.parameters(), None)  # none if all of them are drawn
    seen = filled(x)
    return seen if weight is None else seen.to(weight.dtype)


def floating(x: Tensor) -> Tensor:
    """Bytes, whole numbers, yes and no as numbers with fractions, which can be subtracted from.

    Example:
        >>> floating(torch.tensor([True, False]))
        tensor([1., 0.])
    """
    if x.is_floating_point():
        return x
    # Single precision holds 24 bits.
    return x.double() if x.element_size() > 2 else x.to(torch.get_default_dtype())


def check_columns(x: Tensor, features: int) -> None:
    """Refuse rows of another width than the model's: those of one number would stand for all of a row.

    Raises:
        TypeError: they are no tensor.
        ValueError: says which width, and which was expected.
    """
    _check_tensor(x)
    if x.shape[-1:] != (features,):
        raise ValueError(
            f"the data have the shape {tuple(x.shape)}, the model was made for rows of {features}: (N, "
            f"{features})"
        )


def refuse_single_row(x: Tensor, features: int) -> None:
    """Refuse a row alone, whose values would be taken for rows.

    Raises:
        ValueError: says how to make a table of it.
    """
    if x.dim() < 2:
        raise ValueError(
            f"the data have the shape {tuple(x.shape)}; rows of {features} features are needed, (B, "
            f"{features}): a single row x is x[None]"
        )


def _check_tensor(x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(
            f"the data are of the type {type(x).__name__}; models, guides and losses take a tensor, such as "
            "torch.as_tensor(x)"
        )


def observe(name: str, distribution: TorchDistribution, x: Tensor) -> None:
    """Make the sample statement of data ``x`` (B, D), of which NaN is integrated out.

    Args:
        name: of the site.
        distribution: p(x | z) of event shape (D,): independent dimensions, or a multivariate normal.
        x: the data.

    Raises:
        TypeError: a distribution whose marginals are not known, and data with NaN.
        ValueError: rows of another width than the distribution, or a single row, whose values would be taken
            for rows.
    """
    check_columns(x, distribution.event_shape[-1])
    refuse_single_row(x, distribution.event_shape[-1])
    x = floating(x)
    if any_missing(x):
        pyro.sample(name, marginal(distribution, ~x.isnan()), obs=filled(x))
    else:
        pyro.sample(name, distribution, obs=x)


def log_prob(distribution: TorchDistribution, x: Tensor) -> Tensor:
    """Log-density of ``x`` (..., D), of which NaN is integrated out: (...,), in nats.

    Example:
        >>> normal = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        >>> log_prob(normal, torch.tensor([0.0, math.nan]))
        tensor(-0.9189)
    """
    check_columns(x, distribution.event_shape[-1])
    x = floating(x)
    if not any_missing(x):
        result: Tensor = distribution.log_prob(x)
    else:
        result = marginal(distribution, ~x.isnan()).log_prob(filled(x))
    return result


def marginal(distribution: TorchDistribution, present: Tensor) -> TorchDistribution:
    """The distribution with those dimensions integrated out that are not ``present`` (..., D).

    Its event shape stays (D,): what stands in the other dimensions does not count.

    Raises:
        TypeError: a distribution whose marginals are not known.
    """
    if isinstance(distribution, dist.MultivariateNormal):
        return MarginalNormal(distribution.loc, distribution.scale_tril, present)
    if isinstance(distribution, dist.Independent) and distribution.reinterpreted_batch_ndims == 1:
        return distribution.base_dist.mask(present).to_event(1)
    raise TypeError(
        f"the data have missing values (NaN), and the marginals of {type(distribution).__name__} are not "
        "known: use independent dimensions, such as dist.Normal(loc, scale).to_event(1), or a "
        "MultivariateNormal"
    )


class MarginalNormal(dist.MultivariateNormal):
    """A multivariate normal with some dimensions of each row integrated out.

    Args:
        loc: (..., D).
        scale_tril: (..., D, D), of the whole normal.
        present: (..., D), which dimensions are left; the others have loc and scale of their own still,
            so that they can be drawn, but are independent of all and do not count.
    """

    def __init__(self, loc: Tensor, scale_tril: Tensor, present: Tensor) -> None:
        both = present.unsqueeze(-1) & present.unsqueeze(-2)
        # In double precision: the square of a factor has twice its digits.
        covariance = scale_tril.double() @ scale_tril.double().mT
        covariance = torch.where(
            both, covariance, covariance.diagonal(dim1=-2, dim2=-1).diag_embed()
        )
        self.present = present
        self.whole = scale_tril
        dist.MultivariateNormal.__init__(
            self,
            loc,
            scale_tril=torch.linalg.cholesky(covariance).to(scale_tril),
            validate_args=False,
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> MarginalNormal:
        """The same distribution for a larger batch."""
        size = self.event_shape
        shape = (*batch_shape, *size)
        return MarginalNormal(
            self.loc.expand(shape),
            self.whole.expand(*shape, *size),
            self.present.expand(shape),
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of the dimensions that are present."""
        value = torch.where(self.present, value, self.loc)
        log_scale = self.scale_tril.diagonal(dim1=-2, dim2=-1).log() + 0.5 * math.log(2.0 * math.pi)
        whole: Tensor = dist.MultivariateNormal.log_prob(self, value)
        return whole + torch.where(self.present, 0.0, log_scale).sum(-1)


def mean_and_scale(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of what is observed in each column of ``x`` (N, D); 0 without any.

    Example:
        >>> mean_and_scale(torch.tensor([[1.0], [3.0], [math.nan]]))
        (tensor([2.]), tensor([1.]))
    """
    x = floating(x)
    if not any_missing(x):
        return x.mean(0), x.std(0, correction=0)
    mean = x.nanmean(0).nan_to_num()
    return mean, (x - mean).square().nanmean(0).sqrt().nan_to_num()
