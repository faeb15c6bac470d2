"""Data drawn in place of the data, and what latents know of labels."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.diagnostics import (
    PredictiveCheck,
    cluster_agreement,
    cluster_of,
    linear_probe,
    predictive_check,
    unit_activity,
)
from pyrovae.guides import Amortized, ExactPosterior
from pyrovae.models import GaussianMixture, ProbabilisticPCA


def fitted(rows=300):
    torch.manual_seed(0)
    model = ProbabilisticPCA(6, latent=2)
    with torch.no_grad():
        model.weight.normal_()
    return model, model.decode(torch.randn(rows, 2)).sample()


def test_data_of_the_models_own_pass():
    model, x = fitted()
    found = predictive_check(model, ExactPosterior(model), x)
    assert all(0.001 < p < 0.999 for p in found.p_values().values())
    assert found.replicated["mean"].shape == (100, 300)
    assert all(p.shape == (300,) for p in found.row_p_values().values())


def test_data_with_what_the_model_has_not_fail():
    model, x = fitted()
    spiky = x.clone()
    spiky[:, 3] += 6.0
    found = predictive_check(model, ExactPosterior(model), spiky).p_values()
    assert found["largest"] < 0.01
    assert found["roughness"] < 0.01


def test_discrete_latents_and_statistics_of_ones_own():
    model = GaussianMixture(6, components=3)
    x = model.decode(torch.randint(3, (200,))).sample()
    mine = {"first": lambda x: x[..., 0]}
    found = predictive_check(model, ExactPosterior(model), x, statistics=mine, num_particles=40)
    assert found.replicated["first"].shape == (40, 200)
    assert 0.001 < found.p_values()["first"] < 0.999


def test_a_guide_that_leaves_a_latent_to_enumeration_is_refused():
    model = GaussianMixture(6, components=3)
    with pytest.raises(ValueError, match="does not draw 'z'"):
        predictive_check(model, lambda x, **k: None, torch.zeros(2, 6))


def test_a_probe_reads_what_the_posterior_keeps():
    model, x = fitted(400)
    labels = (model.posterior(x).loc[:, 0] > 0).long()
    guide = ExactPosterior(model)
    seen = linear_probe(guide, x[:200], labels[:200], x[200:], labels[200:])
    shuffled = labels[torch.randperm(400)]
    chance = linear_probe(guide, x[:200], shuffled[:200], x[200:], shuffled[200:])
    assert seen > 0.9
    assert chance < 0.7


def test_clusters_that_are_classes_agree():
    torch.manual_seed(0)
    model = GaussianMixture(6, components=3)
    with torch.no_grad():
        model.loc.mul_(10)
    labels = torch.randint(3, (300,))
    x = model.decode(labels).sample()
    found = cluster_agreement(model.posterior(x).probs, (labels + 1) % 3)
    assert (found.adjusted_rand, found.accuracy, found.purity) == (1.0, 1.0, 1.0)
    assert (cluster_of(ExactPosterior(model), x) == labels).all()
    random = cluster_agreement(torch.randint(3, (300,)), labels)
    assert abs(random.adjusted_rand) < 0.05
    assert random.accuracy < 0.5
    with pytest.raises(ValueError, match="draws 0 categories"):
        cluster_of(Amortized(6, 2), x)


def test_rows_with_missing_values_are_left_out():
    """One missing value made every p-value 0.0, as if the model's data were all below the real ones."""
    model, x = fitted()
    some = x.clone()
    some[:3, 0] = torch.nan
    found = predictive_check(model, ExactPosterior(model), some)
    assert all(0.001 < p < 0.999 for p in found.p_values().values())
    for p in found.row_p_values().values():
        assert p[:3].isnan().all()
        assert not p[3:].isnan().any()
    mine = predictive_check(
        model, ExactPosterior(model), some, statistics={"mean": lambda x: x.nanmean(-1)}
    )
    assert not mine.row_p_values()["mean"].isnan().any()
    assert mine.replicated["mean"].shape == (100, 300)


def test_a_statistic_that_one_dimension_has_not_says_nothing():
    model = ProbabilisticPCA(1, latent=1)
    x = model.decode(torch.randn(50, 1)).sample()
    found = predictive_check(model, ExactPosterior(model), x).p_values()
    assert 0.001 < found["mean"] < 0.999
    assert math.isnan(found["roughness"])
    assert math.isnan(found["standard deviation"])


def test_counts_one_number_a_row_and_plates_the_guide_has_not(number_a_row):
    """They were refused by torch: no mean of whole numbers, no second dimension, draws where a plate is."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Gamma(torch.tensor(2.0), 1.0))
            with pyro.plate("pixels", x.shape[1], dim=-1):
                pyro.sample("x", dist.Poisson(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2):
            total = x.sum(-1, keepdim=True)
            pyro.sample("z", dist.Gamma(2.0 + total, 1.0 + x.shape[1]))

    x = dist.Poisson(dist.Gamma(2.0, 1.0).sample((60, 1)).expand(60, 5)).sample().long()
    found = predictive_check(model, guide, x).p_values()
    assert all(0.001 < p < 0.999 for p in found.values())
    found = predictive_check(*number_a_row, 2**0.5 * torch.randn(60)).p_values()
    assert 0.001 < found["mean"] < 0.999


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([-1, -1, 4, 4]), torch.tensor([True, True, False, False])],
    ids=["negative", "bool"],
)
def test_which_numbers_name_the_classes_does_not_count(labels):
    """A class called -1 was taken for the last one: an accuracy of 0.5 for the same partition."""
    agreement = cluster_agreement(torch.tensor([0, 0, 1, 1]), labels)
    assert agreement.accuracy == agreement.purity == 1.0
    bytes_ = cluster_agreement(torch.tensor([0, 0, 1, 1]), 254 + labels.to(torch.uint8))
    assert bytes_.accuracy == 1.0


def test_a_plate_where_the_rows_should_be_is_refused():
    """The activity of 2 steps over 6 rows came back as that of 6 units over 2."""

    def guide(x):
        with pyro.plate("data", len(x), dim=-1), pyro.plate("steps", 2, dim=-2):
            pyro.sample("z", dist.Normal(x, 0.1))

    with pytest.raises(ValueError, match="with 2 where the 6 datapoints are to be"):
        unit_activity(guide, torch.randn(6))


@pytest.mark.parametrize("clusters", [torch.zeros(3), torch.zeros(3, 2), torch.zeros(2, 2, 2)])
def test_clusters_of_other_rows_are_refused(clusters):
    with pytest.raises(ValueError, match=r"clusters have the shape .* and labels \(2,\)"):
        cluster_agreement(clusters, torch.tensor([0, 1]))


def test_data_sets_with_the_same_numbers_are_ties():
    """In double precision the order of a sum told them apart: a p-value of 0.09 for the same rows."""
    values = torch.tensor([0.1, 0.3, 0.7], dtype=torch.float64)
    observed = values[torch.randint(3, (37,))]
    same = torch.stack([observed[torch.randperm(37)] for _ in range(100)])
    assert PredictiveCheck({"value": observed}, {"value": same}).p_values() == {"value": 0.5}
    above = PredictiveCheck({"value": observed}, {"value": same + 1e-6}).p_values()
    assert above == {"value": 1.0}
