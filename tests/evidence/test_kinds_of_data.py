"""Data in another precision than the programs, of another width, and what is no tensor."""

import functools

import pytest
import torch

import pyrovae
from pyrovae import diagnostics, evidence, guides, models
from pyrovae.objectives import ELBO

FEATURES, LATENT = 4, 2
ESTIMATORS = {
    "importance": evidence.ImportanceSampling(num_particles=50),
    "bound": evidence.ImportanceWeightedBound(num_particles=5),
    "prior": evidence.PriorMonteCarlo(num_particles=50),
    "annealed": evidence.AnnealedImportanceSampling(
        chains=4, temperatures=20, pilot_chains=4, pilot_temperatures=10
    ),
    "quadrature": evidence.Quadrature(),
    "box": evidence.UniformBox(num_particles=50),
}
ADAM = functools.partial(torch.optim.Adam, lr=1e-3)


def programs():
    torch.manual_seed(0)
    model = models.VAE(FEATURES, latent=LATENT, hidden=(8,), likelihood="bernoulli")
    return model, guides.Amortized(FEATURES, LATENT, hidden=(8,))


def rows():
    return torch.randint(0, 2, (5, FEATURES), generator=torch.Generator().manual_seed(1)).float()


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8, torch.int64, torch.bool])
def test_evidence_is_that_of_the_same_numbers(name, dtype):
    expected = ESTIMATORS[name](*programs(), rows())
    found = ESTIMATORS[name](*programs(), rows().to(dtype))
    # Chains are accepted by densities in the precision of the data: other draws, the same value.
    apart = 5 * (expected.standard_error + found.standard_error) if name == "annealed" else 1e-4
    assert ((found.value - expected.value).abs() < apart).all()


@pytest.mark.parametrize("level", ["eager", "traced"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8])
def test_steps_are_those_of_the_same_numbers(dtype, level):
    ended = []
    for x in (rows(), rows().to(dtype)):
        model, guide = programs()
        svi = pyrovae.SVI(model, guide, ADAM, ELBO(), level=level)
        torch.manual_seed(2)
        for _ in range(4):
            svi.step(x)
        ended.append(torch.cat([p.detach().flatten() for p in guide.parameters()]))
    torch.testing.assert_close(ended[1], ended[0], rtol=1e-4, atol=1e-6)


def test_gaps_are_those_of_the_same_numbers():
    found = [
        diagnostics.gaps(*programs(), rows().to(dtype), steps=20)
        for dtype in (torch.float32, torch.float64, torch.uint8)
    ]
    for gaps in found[1:]:
        torch.testing.assert_close(gaps.inference, found[0].inference, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "guide",
    [
        guides.Amortized(16, LATENT, hidden=(8,)),
        guides.Amortized(16, LATENT, hidden=(4,), network="convolutional"),
        guides.Hierarchical(16, models.HierarchicalVAE(16)),
    ],
    ids=lambda guide: type(guide).__name__,
)
def test_rows_of_another_width_are_told_in_words(guide):
    with pytest.raises(ValueError, match=r"\(3, 8\), the network was made for rows of 16"):
        guide(torch.zeros(3, 8))


@pytest.mark.parametrize("x", [rows().numpy(), rows().tolist()], ids=["array", "list"])
def test_what_is_no_tensor_is_told_in_words(x):
    model, guide = programs()
    exact = models.ProbabilisticPCA(FEATURES, latent=LATENT)
    mixture = models.GaussianMixture(FEATURES, components=2)
    for call in (
        functools.partial(model, x),
        functools.partial(guide, x),
        functools.partial(exact.exact_log_evidence, x),
        functools.partial(exact.posterior, x),
        functools.partial(mixture.exact_log_evidence, x),
        functools.partial(ELBO().loss, model, guide, x),
        functools.partial(pyrovae.SVI(model, guide, ADAM, ELBO()).step, x),
    ):
        with pytest.raises(TypeError, match="take a tensor, such as torch.as_tensor"):
            call()


def test_a_single_row_is_not_taken_for_rows_of_one_value():
    model, guide = programs()
    for call in (
        functools.partial(model, rows()[0]),
        functools.partial(ELBO().loss, model, guide, rows()[0]),
        functools.partial(pyrovae.SVI(model, guide, ADAM, ELBO()).step, rows()[0]),
    ):
        with pytest.raises(ValueError, match=r"a single row x is x\[None\]"):
            call()


def test_a_single_row_of_probabilistic_pca_is_that_of_the_table():
    model = models.ProbabilisticPCA(FEATURES, latent=LATENT)
    x = torch.randn(3, FEATURES)
    torch.testing.assert_close(model.exact_log_evidence(x[0]), model.exact_log_evidence(x)[0])
    torch.testing.assert_close(model.posterior(x[0]).mean, model.posterior(x).mean[0])
