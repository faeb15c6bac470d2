"""What every model in the public list keeps: it is built from features alone, and takes missing values."""

import math

import pytest
import torch

import pyrovae
from pyrovae import models, objectives
from pyrovae.guides import Amortized, ExactPosterior, Hierarchical, ModelEncoder
from pyrovae.programs import ExactModel, check
from pyrovae.registry.parts import build

FEATURES, ROWS = 16, 7


def make(name):
    torch.manual_seed(0)
    model = build("model", name, {}, features=FEATURES)
    if isinstance(model, ExactModel):
        return model, ExactPosterior(model)
    if name == "VampPriorVAE":
        return model, ModelEncoder(model)
    if name == "HierarchicalVAE":
        return model, Hierarchical(FEATURES, model, hidden=(8,), upper_hidden=(8,))
    return model, Amortized(FEATURES, model.latent, hidden=(8,))


def data():
    return (torch.rand(ROWS, FEATURES, generator=torch.Generator().manual_seed(1)) > 0.5).float()


@pytest.mark.parametrize("name", models.__all__)
def test_it_is_built_from_features_alone_and_fits_a_guide(name):
    model, guide = make(name)
    x = data()
    if name != "GaussianMixture":  # which wants a row for each of its components
        model.initialise(x, seed=0)
    check(model, guide, x)
    for gradient in ("pathwise", "stl"):
        loss = objectives.ELBO(gradient=gradient).loss_and_grads(model, guide, x)
        assert math.isfinite(loss)
    assert model.features == FEATURES
    assert isinstance(model.latent, int)


@pytest.mark.parametrize("name", models.__all__)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_it_starts_from_whole_numbers_as_from_their_values(name, dtype):
    begun = []
    for x in (data().repeat(2, 1), data().repeat(2, 1).to(dtype)):
        model, _ = make(name)
        model.initialise(x, seed=0)
        begun.append(model.state_dict())
    for key, value in begun[0].items():
        torch.testing.assert_close(begun[1][key], value)


@pytest.mark.parametrize("name", models.__all__)
def test_it_starts_from_an_array_and_from_no_row_or_infinite_rows(name):
    model, _ = make(name)
    x = data().repeat(2, 1)
    model.initialise(x, seed=0)
    begun = {key: value.clone() for key, value in model.state_dict().items()}
    model.initialise(x.numpy(), seed=0)
    torch.testing.assert_close(dict(model.state_dict()), begun)
    for wrong, said in ((x[0], r"shape \(N, D\)"), (x[:0], "is empty"), (x / 0, "infinite values")):
        with pytest.raises(ValueError, match=said):
            model.initialise(wrong)


@pytest.mark.parametrize("name", ["ProbabilisticPCA", "GaussianMixture", "BernoulliMixture"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64])
def test_evidence_and_posterior_of_whole_numbers_and_double_precision(name, dtype):
    model, guide = make(name)
    x = data()
    evidence = model.exact_log_evidence(x.to(dtype))
    torch.testing.assert_close(evidence.float(), model.exact_log_evidence(x))
    weights = pyrovae.log_weights(model, guide, x.to(dtype), num_particles=2)
    torch.testing.assert_close(weights.logsumexp(0) - math.log(2), evidence, check_dtype=False)


@pytest.mark.parametrize("name", models.__all__)
def test_missing_values_are_integrated_out(name):
    """Weights are numbers, and rows without holes keep theirs: what is missing is another row's affair."""
    model, guide = make(name)
    x = data()
    holes = x.clone()
    holes[0, 3] = holes[2] = math.nan

    def weights(rows):
        torch.manual_seed(5)
        return pyrovae.log_weights(model, guide, rows, num_particles=3)

    whole, partly = weights(x), weights(holes)
    assert partly.isfinite().all()
    same = [1, 3, 4, 5, 6]
    torch.testing.assert_close(partly[:, same], whole[:, same])
    assert not torch.allclose(partly[:, [0, 2]], whole[:, [0, 2]])


@pytest.mark.parametrize("name", models.__all__)
def test_the_plates_scale_is_not_in_the_weights(name):
    model, guide = make(name)
    index = torch.arange(ROWS)

    def weights(**kwargs):
        torch.manual_seed(5)
        return pyrovae.log_weights(model, guide, data(), num_particles=3, **kwargs)

    torch.testing.assert_close(weights(), weights(index=index, size=10 * ROWS))
