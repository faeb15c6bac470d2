"""Diagnostics: numbers that say whether inference can be trusted, and tables and plots of them."""

from pyrovae.diagnostics.active_units import active_units, unit_activity
from pyrovae.diagnostics.calibration import Calibration, calibration
from pyrovae.diagnostics.gaps import Gaps, gaps
from pyrovae.diagnostics.gradient_noise import (
    GradientNoise,
    gradient_noise,
    noise_table,
    plot_noise,
)
from pyrovae.diagnostics.inference_data import to_inference_data
from pyrovae.diagnostics.information import Information, information
from pyrovae.diagnostics.predictive_check import PredictiveCheck, predictive_check
from pyrovae.diagnostics.representation import (
    ClusterAgreement,
    cluster_agreement,
    cluster_of,
    linear_probe,
)
from pyrovae.sampling.psis import Smoothed, effective_sample_size, k_hat, smooth, threshold

__all__ = [
    "Calibration",
    "ClusterAgreement",
    "Gaps",
    "GradientNoise",
    "Information",
    "PredictiveCheck",
    "Smoothed",
    "active_units",
    "calibration",
    "cluster_agreement",
    "cluster_of",
    "effective_sample_size",
    "gaps",
    "gradient_noise",
    "information",
    "k_hat",
    "linear_probe",
    "noise_table",
    "plot_noise",
    "predictive_check",
    "smooth",
    "threshold",
    "to_inference_data",
    "unit_activity",
]
