"""What every estimator in the public list keeps: one call, float64 per datapoint, no trace left behind."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae import evidence
from pyrovae.guides import Amortized, ExactPosterior
from pyrovae.models import GaussianMixture, ProbabilisticPCA
from pyrovae.registry.parts import options

SMALL = {
    "temperatures": 6,
    "pilot_temperatures": 4,
    "chains": 4,
    "num_particles": 12,
    "points": 31,
    "leapfrogs": 2,
}


def make(name):
    return getattr(evidence, name)(
        **{k: v for k, v in SMALL.items() if k in options("evidence", name)}
    )


def problem(dtype=torch.float32):
    model = ProbabilisticPCA(5, latent=2).to(dtype)
    return model, Amortized(5, 2, hidden=(4,)).to(dtype), torch.randn(7, 5, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", evidence.__all__)
def test_one_number_and_its_error_for_every_row(name, dtype):
    estimate = make(name)(*problem(dtype))
    for number in (estimate.value, estimate.standard_error):
        assert number.shape == (7,)
        assert number.dtype == torch.float64
        assert number.isfinite().all()
        assert not number.requires_grad
    assert (estimate.standard_error >= 0).all()
    assert isinstance(estimate.cost, int)
    mean, error = estimate.mean()
    assert mean == pytest.approx(float(estimate.value.mean()))
    assert error > 0


@pytest.mark.parametrize("name", evidence.__all__)
def test_the_seed_says_it_all(name):
    model, guide, x = problem()
    one, same = make(name)(model, guide, x, seed=3), make(name)(model, guide, x, seed=3)
    assert torch.equal(one.value, same.value)
    if name not in ("Exact", "Quadrature"):
        assert not torch.equal(one.value, make(name)(model, guide, x, seed=4).value)


@pytest.mark.parametrize("name", evidence.__all__)
def test_it_leaves_everything_as_it_was(name):
    model, guide, x = problem()
    pyro.param("somebody's", torch.ones(2))
    state, checks = torch.get_rng_state(), torch.distributions.Distribution._validate_args
    make(name)(model, guide, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.distributions.Distribution._validate_args == checks
    assert list(pyro.get_param_store().keys()) == ["somebody's"]
    for parameter in [*model.parameters(), *guide.parameters()]:
        assert parameter.grad is None
        assert parameter.requires_grad


@pytest.mark.parametrize("name", evidence.__all__)
def test_a_subsample_changes_nothing(name):
    """The plate's scale N / B is no part of a datapoint's evidence."""
    model, guide, x = problem(torch.float64)
    alone = make(name)(model, guide, x, seed=1).value
    rows = {"index": torch.arange(7), "size": 700}
    torch.testing.assert_close(make(name)(model, guide, x, seed=1, **rows).value, alone)


@pytest.mark.parametrize("enumerated", [False, True])
@pytest.mark.parametrize("name", evidence.__all__)
def test_a_plate_that_draws_its_rows_itself_is_refused(name, enumerated):
    """Draws of some rows were weighed by the data of others: -3.7 where log p(x) is -26 to -1."""
    marked = {"enumerate": "parallel"} if enumerated else {}

    def model(x):
        with pyro.plate("data", len(x), subsample_size=5) as rows:
            y = pyro.sample("y", dist.Bernoulli(torch.tensor(0.5)), infer=marked)
            z = 0.0 if name == "Exact" else pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + y, 1.0), obs=x[rows])

    def guide(x):
        with pyro.plate("data", len(x), subsample_size=5) as rows:
            if not enumerated:
                pyro.sample("y", dist.Bernoulli(torch.full((5,), 0.5)))
            if name != "Exact":
                pyro.sample("z", dist.Normal(x[rows] / 2, 0.5**0.5))

    if name == "BidirectionalMonteCarlo":
        refused = pytest.raises(ValueError, match="must observe one site, of the shape")
    else:
        refused = pytest.raises(ValueError, match="'data' draws 5 of its 20 rows anew in every")
    with refused:
        make(name)(model, guide, torch.linspace(-10, 10, 20))


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("ImportanceSampling", {}),
        ("ImportanceWeightedBound", {}),
        ("AnnealedImportanceSampling", {"start": "guide"}),
    ],
)
@pytest.mark.parametrize("sites", [(), ("w",), ("z", "w")])
def test_programs_with_different_latents_are_refused(name, start, sites):
    """A guide that drew nothing left z to the model: -2.4 for -1.3; the others ended in an IndexError."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.tensor(0.0), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            for site in sites:
                pyro.sample(site, dist.Normal(x / 2, 0.5**0.5))

    estimator = make(name) if not start else evidence.AnnealedImportanceSampling(chains=2, **start)
    with pytest.raises(ValueError, match="guide misses the latent site|guide has a site 'w'"):
        estimator(model, guide, torch.tensor([0.0, 1.0, 3.0]))


@pytest.mark.parametrize("name", ["AnnealedImportanceSampling", "Quadrature", "UniformBox"])
def test_a_support_that_depends_on_another_latent_is_refused(name):
    """It was that of the first draw for all: -5.2 by annealing where log p(x) is -3.0."""

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
            b = pyro.sample("b", dist.Uniform(0.0, a))
            pyro.sample("x", dist.Normal(b, 1.0), obs=x)

    with pytest.raises(ValueError, match="support of the latent site 'b' depends on the draw of"):
        make(name)(model, None, torch.tensor([0.0, 1.0, 3.0]))


@pytest.mark.parametrize("by", ["poutine", "distribution"])
@pytest.mark.parametrize("name", ["AnnealedImportanceSampling", "Quadrature", "UniformBox"])
def test_masked_latents_are_not_integrated_over(name, by):
    """Where nothing is observed, log p is 0; the integral over a latent that does not count was 3.1."""
    mask = torch.tensor([True, False])

    def model(x):
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=mask if by == "poutine" else True):
            normal = dist.Normal(torch.zeros(len(x)), 1.0)
            z = pyro.sample("z", normal if by == "poutine" else normal.mask(mask))
            pyro.sample("x", dist.Normal(z, 1.0).mask(mask), obs=x)

    if name == "AnnealedImportanceSampling":
        assert make(name)(model, None, torch.tensor([1.0, 2.0])).value[1] == 0
        return
    with pytest.raises(ValueError, match="latent site 'z' is masked"):
        make(name)(model, None, torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize("name", evidence.__all__)
def test_where_all_latents_are_enumerated_every_estimator_is_exact(name):
    model = GaussianMixture(5, components=3).double()
    x = torch.randn(7, 5, dtype=torch.float64)
    exact = model.exact_log_evidence(x)
    if name in ("Quadrature", "BidirectionalMonteCarlo"):
        with pytest.raises(ValueError, match="0 continuous latent dimensions|no latent of this"):
            make(name)(model, lambda *a, **k: None, x)
        return
    estimate = make(name)(model, lambda *a, **k: None, x)
    torch.testing.assert_close(estimate.value, exact, rtol=0, atol=1e-10)
    assert (estimate.standard_error < 1e-6).all()


@pytest.mark.parametrize("name", ["ImportanceSampling", "ImportanceWeightedBound"])
@pytest.mark.parametrize("num_particles", [1, 3, 51, 120])
@pytest.mark.parametrize("model", [ProbabilisticPCA(5, latent=2), GaussianMixture(5, components=3)])
def test_with_the_exact_posterior_it_is_exact(name, num_particles, model):
    model, x = model.double(), torch.randn(4, 5, dtype=torch.float64)
    estimator = getattr(evidence, name)(num_particles=num_particles)
    estimate = estimator(model, ExactPosterior(model), x)
    torch.testing.assert_close(estimate.value, model.exact_log_evidence(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("ImportanceSampling", {"num_particles": 0}),
        ("ImportanceSampling", {"chunk_size": 0}),
        ("ImportanceWeightedBound", {"repeats": 1}),
        ("PriorMonteCarlo", {"num_particles": 0}),
        ("UniformBox", {"half_width": 0.0}),
        ("Quadrature", {"points": 10}),
        ("AnnealedImportanceSampling", {"chains": 0}),
        ("AnnealedImportanceSampling", {"pilot_chains": 1}),
        ("AnnealedImportanceSampling", {"start": "posterior"}),
        ("BidirectionalMonteCarlo", {"temperatures": 0}),
    ],
)
def test_impossible_settings_are_refused(name, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        getattr(evidence, name)(**bad)
