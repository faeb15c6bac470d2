"""Diagnostics: numbers that say whether inference can be trusted, and tables and plots of them."""

from pyrovae.diagnostics.gradient_noise import (
    GradientNoise,
    gradient_noise,
    noise_table,
    plot_noise,
)
from pyrovae.diagnostics.psis import Smoothed, effective_sample_size, k_hat, smooth, threshold

__all__ = [
    "GradientNoise",
    "Smoothed",
    "effective_sample_size",
    "gradient_noise",
    "k_hat",
    "noise_table",
    "plot_noise",
    "smooth",
    "threshold",
]
