"""The evidence lower bound of each datapoint, where some of what the guide knows is enumerated."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.evidence import ImportanceSampling
from pyrovae.objectives import ELBO
from pyrovae.sampling.elbo import elbo, elbo_of

X = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
PRIOR, GUIDE = torch.tensor([0.3, 0.7]).double(), torch.tensor([0.5, 0.5]).double()


def model(x):
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Categorical(PRIOR))
        pyro.sample("x", dist.Normal(3 * y.to(x), 1.0), obs=x)


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Categorical(GUIDE), infer={"enumerate": "parallel"})


def exact_elbo():
    terms = [PRIOR[y].log() + dist.Normal(3.0 * y, 1.0).log_prob(X) for y in (0, 1)]
    return sum(q * (term - q.log()) for q, term in zip(GUIDE, terms, strict=True))


def test_what_a_guide_enumerates_is_averaged_over():
    """Summed out it was log p(x), whatever the guide: a gap of 0 where it is up to 2.0 nats."""
    value, error = elbo(model, guide, X, num_particles=10)
    torch.testing.assert_close(value, exact_elbo(), rtol=0, atol=1e-12)
    torch.testing.assert_close(error, torch.zeros(3).double(), rtol=0, atol=1e-12)
    assert value.sum().item() == pytest.approx(-ELBO().loss(model, guide, X), abs=1e-12)


def test_kept_weights_that_have_summed_sites_out_are_not_the_bound():
    kept = ImportanceSampling(num_particles=10, keep=True)(model, guide, X).log_weights
    assert (kept.mean(0) - exact_elbo() > 0.05).all()
    value, _ = elbo_of(kept, model, guide, X)
    torch.testing.assert_close(value, exact_elbo(), rtol=0, atol=1e-12)


def test_a_single_draw_says_nothing_of_its_error():
    """It was 0, as of an exact value."""

    def drawn(x):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(GUIDE))

    assert elbo(model, drawn, X, num_particles=1)[1].isinf().all()
    assert elbo(model, drawn, X, num_particles=2)[1].isfinite().all()
