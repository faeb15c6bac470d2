"""Code lengths add up to the bound, and to what a code for the data itself would take."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae import log_weights
from pyrovae.compression import BIT, bits_per_image, code_length
from pyrovae.guides import Amortized, ExactPosterior
from pyrovae.imputation import impute
from pyrovae.models import VAE, BernoulliMixture, GaussianMixture, ProbabilisticPCA


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProbabilisticPCA(4, latent=2),
        lambda: GaussianMixture(4, components=3),
        lambda: BernoulliMixture(4, components=3),
    ],
)
def test_with_the_exact_posterior_the_code_is_as_long_as_the_evidence_says(make):
    torch.manual_seed(0)
    model = make().double()
    x = (torch.randn(5, 4) > 0).double()
    code = code_length(model, ExactPosterior(model), x, num_particles=3)
    exact = model.exact_log_evidence(x).detach()
    torch.testing.assert_close(code.net, -exact, atol=1e-10, rtol=0)
    torch.testing.assert_close(code.rate + code.distortion, code.net)
    assert (code.returned > -10).all()


def test_no_code_of_binary_images_beats_their_entropy():
    """Bits over all images of 4 pixels, weighed by the model itself, are its entropy in bits."""
    torch.manual_seed(0)
    model = BernoulliMixture(4, components=2).double()
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4)
    log_p = model.exact_log_evidence(images).detach()
    code = code_length(model, ExactPosterior(model), images, num_particles=1)
    bits = bits_per_image(code.net, 4)
    assert float((log_p.exp() * bits).sum()) == pytest.approx(
        float(-(log_p.exp() * log_p).sum() / BIT), abs=1e-10
    )
    # Without the bits that come back, the code would be longer.
    assert ((code.latents + code.data) > code.net).all()


def test_the_net_code_is_minus_the_bound():
    torch.manual_seed(0)
    model, guide, x = VAE(6, latent=2).double(), Amortized(6, 2).double(), torch.rand(3, 6).double()
    code = code_length(model, guide, x, num_particles=20, seed=4)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        bound = log_weights(model, guide, x, num_particles=20).mean(0)
    torch.testing.assert_close(code.net, -bound)
    divergence = torch.distributions.kl_divergence(
        guide.family.distribution(guide.local_parameters(x)).base_dist, model.prior().base_dist
    ).sum(-1)
    code = code_length(model, guide, x, num_particles=4000)
    assert (code.rate - divergence).abs().max() < 5 * math.sqrt(2 * 2 / 4000)


def test_grey_levels_add_their_bits():
    assert float(bits_per_image(torch.zeros(()), 64, 17)) == pytest.approx(64 * math.log2(17))
    with pytest.raises(
        ValueError, match="num_particles must be a whole number of at least 1; got 0"
    ):
        code_length(ProbabilisticPCA(2, latent=1), None, torch.zeros(1, 2), num_particles=0)


def test_a_latent_that_all_rows_share_is_refused():
    """Its cost was left out without a word, so that the net code was shorter than minus any bound."""

    def program(x, observed):
        shared = pyro.sample("shared", dist.Normal(torch.tensor(0.0), 1.0))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(shared, 1.0))
            if observed:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def model(x):
        program(x, True)

    def guide(x):
        program(x, False)

    with pytest.raises(ValueError, match="'shared' lies outside the plate 'data'"):
        code_length(model, guide, torch.zeros(3, 1))
    with pytest.raises(ValueError, match="'shared' lies outside the plate 'data'"):
        impute(model, guide, torch.zeros(3, 1))
