"""Guides: q(z | x) as Pyro programs, from an encoder, a table of numbers per datapoint, or algebra."""

from pyrovae.guides.amortized import Amortized
from pyrovae.guides.exact_posterior import ExactPosterior
from pyrovae.guides.hierarchical import Hierarchical
from pyrovae.guides.missing_pixels import MissingPixels
from pyrovae.guides.model_encoder import ModelEncoder
from pyrovae.guides.per_datapoint import PerDatapoint
from pyrovae.guides.semi_amortized import SemiAmortized

__all__ = [
    "Amortized",
    "ExactPosterior",
    "Hierarchical",
    "MissingPixels",
    "ModelEncoder",
    "PerDatapoint",
    "SemiAmortized",
]
