"""Models and guides whose evidence, posterior or error is known exactly, for `check_evidence.py`."""

import math

import pyro
import pyro.distributions as dist
import torch

from pyrovae.models import GaussianMixture, ProbabilisticPCA
from pyrovae.programs import data_plate


class MixedPCA(torch.nn.Module):
    """A mixture of three probabilistic PCAs: a category that is summed out, and a vector that is drawn."""

    latent = 2

    def __init__(self):
        super().__init__()
        self.centres = torch.nn.Parameter(2.0 * torch.randn(3, 2))
        self.pca = ProbabilisticPCA(4, latent=2)

    def forward(self, x, index=None, size=None):
        """Make the statements for ``x`` (B, D)."""
        with data_plate(len(x), index, size):
            weights = self.centres.new_ones(3)
            y = pyro.sample("y", dist.Categorical(weights), infer={"enumerate": "parallel"})
            z = pyro.sample("z", dist.Normal(self.centres[y], 1.0).to_event(1))
            pyro.sample("x", self.pca.decode(z), obs=x)

    def exact_log_evidence(self, x):
        """Log p(x) of each row, (B,)."""
        shifted = x[:, None] - self.centres @ self.pca.weight.mT
        each = self.pca.exact_log_evidence(shifted.flatten(0, 1)).unflatten(0, (-1, 3))
        return each.logsumexp(-1) - math.log(3)


class DrawnMixture(GaussianMixture):
    """A mixture whose category is drawn, not summed out."""

    def forward(self, x, index=None, size=None):
        """Make the statements for ``x`` (B, D)."""
        with data_plate(len(x), index, size):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.decode(z), obs=x)


class Beside(torch.nn.Module):
    """The exact posterior of a linear model, shifted and widened; ``family`` says what of it is kept."""

    def __init__(self, model, shift=0.0, width=1.0, family_name="full"):
        super().__init__()
        self.model, self.shift, self.width = (model,), shift, width
        self.family_name, self.latent = family_name, model.latent

    def covariance(self, x):
        """(L, L), the same for every row."""
        covariance = self.model[0].posterior(x[:1]).covariance_matrix[0]
        if self.family_name == "diagonal":
            covariance = covariance.inverse().diagonal().reciprocal().diag()
        return self.width**2 * covariance

    def local_parameters(self, x):
        """Where the search for the best of the family starts: a standard normal."""
        length = self.latent
        size = 2 * length if self.family_name == "diagonal" else length + length * (length + 1) // 2
        return torch.zeros(len(x), size, dtype=x.dtype)

    def forward(self, x, index=None, size=None):
        """Make the statements for ``x`` (B, D)."""
        covariance = self.covariance(x)
        loc = self.model[0].posterior(x).loc + self.shift * covariance.diagonal().sqrt()
        with data_plate(len(x), index, size):
            tril = torch.linalg.cholesky(covariance)
            pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=tril))

    def exact_gaps(self, x):
        """Approximation and amortization gap, the same for every row, in nats."""
        precision = self.model[0].posterior(x[:1]).covariance_matrix[0].inverse()
        best = x.new_zeros(())
        if self.family_name == "diagonal":
            best = 0.5 * (precision.diagonal().log().sum() - precision.logdet())
        covariance = self.covariance(x)
        loc = self.shift * covariance.diagonal().sqrt()
        q = torch.distributions.MultivariateNormal(loc, covariance)
        p = torch.distributions.MultivariateNormal(torch.zeros_like(loc), precision.inverse())
        return best.item(), (torch.distributions.kl_divergence(q, p) - best).item()


def broad(x, index=None, size=None):
    """A guide that is wide enough for every mode, and knows nothing of x."""
    with data_plate(len(x), index, size):
        pyro.sample("z", dist.Normal(x.new_zeros(2), 2.5).to_event(1))


def pca(features, latent, seed=0, spread=0.5, log_noise=0.0):
    """A probabilistic PCA with random weights, in double precision."""
    torch.manual_seed(seed)
    model = ProbabilisticPCA(features, latent=latent).double()
    with torch.no_grad():
        model.weight.normal_(0, spread)
        model.raw_scale.fill_(log_noise)
    return model.requires_grad_(False)
