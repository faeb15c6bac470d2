"""Estimators of log p(x) per datapoint, all called as ``estimator(model, guide, x, seed=0)``."""

from pyrovae.evidence.annealed_importance_sampling import AnnealedImportanceSampling
from pyrovae.evidence.bidirectional_monte_carlo import BidirectionalMonteCarlo
from pyrovae.evidence.exact import Exact
from pyrovae.evidence.importance_sampling import ImportanceSampling
from pyrovae.evidence.importance_weighted_bound import ImportanceWeightedBound
from pyrovae.evidence.prior_monte_carlo import PriorMonteCarlo
from pyrovae.evidence.quadrature import Quadrature
from pyrovae.evidence.uniform_box import UniformBox

__all__ = [
    "AnnealedImportanceSampling",
    "BidirectionalMonteCarlo",
    "Exact",
    "ImportanceSampling",
    "ImportanceWeightedBound",
    "PriorMonteCarlo",
    "Quadrature",
    "UniformBox",
]
