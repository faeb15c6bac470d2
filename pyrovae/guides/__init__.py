"""Guides: q(z | x) as Pyro programs, from an encoder, a table of numbers per datapoint, or algebra."""

from pyrovae.guides.amortized import Amortized
from pyrovae.guides.exact_posterior import ExactPosterior
from pyrovae.guides.per_datapoint import PerDatapoint

__all__ = ["Amortized", "ExactPosterior", "PerDatapoint"]
