"""Objectives: what a guide and a model are trained on. Each is a subclass of `pyro.infer.ELBO`.

Each docstring says the formula, what it bounds, bias and variance of its gradient, its cost in
evaluations of the model, and when to use it.
"""

from pyrovae.objectives.averaged import Averaged
from pyrovae.objectives.beta import Beta
from pyrovae.objectives.ciwae import CIWAE
from pyrovae.objectives.elbo import ELBO
from pyrovae.objectives.free_bits import FreeBits
from pyrovae.objectives.iwae import IWAE
from pyrovae.objectives.miwae import MIWAE
from pyrovae.objectives.piwae import PIWAE
from pyrovae.objectives.renyi import Renyi
from pyrovae.objectives.tvo import TVO
from pyrovae.objectives.vr_iwae import VRIWAE
from pyrovae.objectives.vr_max import VRMax
from pyrovae.objectives.wake_sleep import WakeSleep

__all__ = [
    "CIWAE",
    "ELBO",
    "IWAE",
    "MIWAE",
    "PIWAE",
    "TVO",
    "VRIWAE",
    "Averaged",
    "Beta",
    "FreeBits",
    "Renyi",
    "VRMax",
    "WakeSleep",
]
