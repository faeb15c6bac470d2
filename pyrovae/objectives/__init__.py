"""Objectives: what a guide and a model are trained on. Each is a subclass of `pyro.infer.ELBO`."""

from pyrovae.objectives.elbo import ELBO
from pyrovae.objectives.iwae import IWAE
from pyrovae.objectives.renyi import Renyi

__all__ = ["ELBO", "IWAE", "Renyi"]
