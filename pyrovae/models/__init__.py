"""Models: p(x, z) as Pyro programs, from exact evidence (mixtures, probabilistic PCA) to VAEs."""

from pyrovae.models.bernoulli_mixture import BernoulliMixture
from pyrovae.models.conditional_vae import ConditionalVAE
from pyrovae.models.gaussian_mixture import GaussianMixture
from pyrovae.models.hierarchical_vae import HierarchicalVAE
from pyrovae.models.mixture_prior_vae import MixturePriorVAE
from pyrovae.models.probabilistic_pca import ProbabilisticPCA
from pyrovae.models.vae import VAE
from pyrovae.models.vamp_prior_vae import VampPriorVAE

__all__ = [
    "VAE",
    "BernoulliMixture",
    "ConditionalVAE",
    "GaussianMixture",
    "HierarchicalVAE",
    "MixturePriorVAE",
    "ProbabilisticPCA",
    "VampPriorVAE",
]
