"""Estimators of log p(x) per datapoint, all called as ``estimator(model, guide, x, seed=0)``."""

from pyrovae.evidence.exact import Exact
from pyrovae.evidence.importance_sampling import ImportanceSampling

__all__ = ["Exact", "ImportanceSampling"]
