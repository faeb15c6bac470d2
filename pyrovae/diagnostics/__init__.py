"""Diagnostics: numbers that say whether inference can be trusted, and tables and plots of them."""

from pyrovae.diagnostics.gradient_noise import (
    GradientNoise,
    gradient_noise,
    noise_table,
    plot_noise,
)

__all__ = ["GradientNoise", "gradient_noise", "noise_table", "plot_noise"]
