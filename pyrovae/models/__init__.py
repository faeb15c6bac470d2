"""Models: p(x, z) as Pyro programs, from exact evidence (mixture, probabilistic PCA) to the VAE."""

from pyrovae.models.gaussian_mixture import GaussianMixture
from pyrovae.models.probabilistic_pca import ProbabilisticPCA
from pyrovae.models.vae import VAE

__all__ = ["VAE", "GaussianMixture", "ProbabilisticPCA"]
