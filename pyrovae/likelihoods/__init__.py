"""Likelihoods: from a vector of numbers, computed by a decoder, to a distribution over x.

A model says where the numbers come from, a likelihood what they mean.
"""

from __future__ import annotations

import inspect
from typing import Literal, get_args

from pyrovae.likelihoods.base import Likelihood
from pyrovae.likelihoods.gaussian import BoundedGaussian, FixedGaussian, Gaussian, StudentT
from pyrovae.likelihoods.pixels import Bernoulli, ContinuousBernoulli, GreyLevels

__all__ = ["LIKELIHOODS", "Likelihood", "LikelihoodName", "make_likelihood"]

LikelihoodName = Literal[
    "gaussian",
    "fixed_gaussian",
    "bounded_gaussian",
    "student_t",
    "bernoulli",
    "continuous_bernoulli",
    "discretised_logistic",
]

LIKELIHOODS: dict[str, type[Likelihood]] = dict(
    zip(
        get_args(LikelihoodName),
        (
            Gaussian,
            FixedGaussian,
            BoundedGaussian,
            StudentT,
            Bernoulli,
            ContinuousBernoulli,
            GreyLevels,
        ),
        strict=True,
    )
)


def make_likelihood(name: str, features: int, **options: float | None) -> Likelihood:
    """Return the likelihood of this name.

    Args:
        name: one of `LIKELIHOODS`.
        features: D.
        **options: of that likelihood; those that are None were not given.

    Raises:
        ValueError: there is none of this name, or an option is out of its range.
        TypeError: an option that this likelihood has not.

    Example:
        >>> make_likelihood("student_t", 5).size
        15
        >>> make_likelihood("bernoulli", 5, scale=0.1)
        Traceback (most recent call last):
        ...
        TypeError: likelihood='bernoulli' has no scale; its options: none
    """
    if name not in LIKELIHOODS:
        raise ValueError(f"likelihood is {name!r}: the known ones are {', '.join(LIKELIHOODS)}")
    made = LIKELIHOODS[name]
    given = {key: value for key, value in options.items() if value is not None}
    known = [key for key in inspect.signature(made).parameters if key != "features"]
    for key in given:
        if key not in known:
            listed = ", ".join(known) or "none"
            raise TypeError(f"likelihood={name!r} has no {key}; its options: {listed}")
    # The names and the types of options differ from likelihood to likelihood.
    likelihood: Likelihood = made(features, **given)
    return likelihood
