"""Masks, scales, subsampled inner plates and enumeration: against Pyro's own losses, and full enumeration."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from torch import nn

from pyrovae import log_weights
from pyrovae.objectives import ELBO, IWAE, TVO, FreeBits

ENUMERATE = {"enumerate": "parallel"}
R, PARTS = 4_000, 6
X = torch.tensor(1.5, dtype=torch.float64)


def rows(*values):
    """The same numbers for each of R rows, as a parameter: R estimates of one gradient."""
    return nn.Parameter(torch.tensor(values, dtype=torch.float64).repeat(R, 1))


def category(*, scale=1.0, mask=True, infer=None):
    """A category whose cost is weighed in both programs, while what is seen of it is not."""
    theta, logits = rows(0.2, -0.4, 0.1), rows(0.5, 0.0, -0.5)

    def model(x):
        with pyro.plate("data", R, dim=-1):
            with poutine.scale(scale=scale), poutine.mask(mask=mask):
                d = pyro.sample("d", dist.Categorical(logits=theta))
            pyro.sample("x", dist.Normal(d.double(), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", R, dim=-1), poutine.scale(scale=scale), poutine.mask(mask=mask):
            pyro.sample("d", dist.Categorical(logits=logits), infer=infer)

    return model, guide, [theta, logits]


def estimates(objective, model, guide, parameters, seed=0):
    torch.manual_seed(seed)
    loss = objective.differentiable_loss(model, guide, X)
    return -loss.item() / R, torch.cat(torch.autograd.grad(-loss, parameters), -1)


def largest_z(sample, truth):
    error = sample.std(0) / len(sample) ** 0.5
    return ((sample.mean(0) - truth).abs() / error.clamp(min=1e-12)).max().item()


def exact(*, scale, masked):
    """Bound and gradient with the category summed over by hand."""
    theta = torch.tensor([0.2, -0.4, 0.1], dtype=torch.float64, requires_grad=True)
    logits = torch.tensor([0.5, 0.0, -0.5], dtype=torch.float64, requires_grad=True)
    log_q, seen = logits.log_softmax(-1), dist.Normal(torch.arange(3.0).double(), 1.0).log_prob(X)
    cost = 0.0 if masked else scale * (theta.log_softmax(-1) - log_q)
    bound = (log_q.exp() * (seen + cost)).sum()
    found = torch.autograd.grad(bound, [theta, logits], allow_unused=True)
    return bound.item(), torch.cat([torch.zeros(3) if g is None else g for g in found])


WEIGHED = [{}, {"scale": 0.3}, {"mask": torch.zeros(R, dtype=torch.bool)}]


@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize("options", WEIGHED, ids=["plain", "scaled", "masked"])
def test_a_score_is_that_of_the_draws_whatever_their_cost_weighs(options, num_particles):
    truth = exact(scale=options.get("scale", 1.0), masked="mask" in options)
    _, sample = estimates(ELBO(num_particles=num_particles), *category(**options))
    assert largest_z(sample, truth[1]) < 5


@pytest.mark.parametrize("gradient", ["pathwise", "stl"])
@pytest.mark.parametrize("options", WEIGHED, ids=["plain", "scaled", "masked"])
def test_what_the_guide_enumerates_is_averaged_by_its_probabilities(options, gradient):
    truth = exact(scale=options.get("scale", 1.0), masked="mask" in options)
    made = category(**options, infer=ENUMERATE)
    value, found = estimates(ELBO(gradient=gradient), *made)
    assert value == pytest.approx(truth[0], abs=1e-10)
    if gradient == "pathwise":
        torch.testing.assert_close(found[0], truth[1].to(found), atol=1e-10, rtol=0)


def test_a_masked_category_that_the_guide_enumerates_has_weights_of_its_probabilities():
    made = category(mask=torch.zeros(R, dtype=torch.bool), infer=ENUMERATE)
    q = torch.tensor([0.5, 0.0, -0.5], dtype=torch.float64).softmax(-1)
    seen = dist.Normal(torch.arange(3.0).double(), 1.0).log_prob(X)
    expected = (q.log() + seen).logsumexp(-1).item()
    assert -IWAE(num_particles=2).loss(*made[:2], X) / R == pytest.approx(expected, abs=1e-10)


def in_parts(rows_of_plate=None, *, scale=1.0, mask=True, seen_scale=1.0):
    """A category for each part of a datapoint, summed out of the model, or drawn by the guide."""
    theta = nn.Parameter(torch.tensor([0.2, -0.4, 0.1], dtype=torch.float64))

    def model(x):
        parts = pyro.plate("parts", PARTS, subsample=rows_of_plate, dim=-2)
        weighed = poutine.scale(scale=scale), poutine.mask(mask=mask)
        with pyro.plate("data", 4, dim=-1), parts, weighed[0], weighed[1]:
            d = pyro.sample("d", dist.Categorical(logits=theta), infer=ENUMERATE)
            with poutine.scale(scale=seen_scale):
                pyro.sample("x", dist.Normal(d.double(), 1.0), obs=x)

    return model, lambda x: None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rows_of_plate": torch.tensor([0, 1])},
        {"scale": 0.3},
        {"scale": torch.tensor(0.3)},
        {"mask": torch.tensor([True, False, True, False])},
    ],
    ids=["plain", "subsampled", "scaled", "scaled by a tensor", "masked"],
)
def test_what_is_summed_out_under_a_scale_or_a_mask_is_what_pyro_makes_of_it(options):
    programs = in_parts(**options)
    stock = TraceEnum_ELBO(max_plate_nesting=2).loss(*programs, X)
    assert ELBO().loss(*programs, X) == pytest.approx(stock, abs=1e-6)


def test_a_masked_datapoint_has_a_weight_of_1():
    programs = in_parts(mask=torch.tensor([True, False, True, False]))
    assert log_weights(*programs, X)[0, [1, 3]].abs().max() < 1e-12
    assert log_weights(*programs, X)[0, [0, 2]].abs().min() > 1


def test_sites_summed_over_together_must_have_one_scale():
    with pytest.raises(ValueError, match="'d' and 'x' are summed over together and have different"):
        ELBO().loss(*in_parts(seen_scale=0.5), X)
    with pytest.raises(ValueError, match=r"scale of shape \(4,\): poutine.scale takes one number"):
        ELBO().loss(*in_parts(scale=torch.ones(4)), X)


def test_the_score_of_a_subsampled_inner_plate_is_scaled_once():
    """Against the gradient of the whole plate, in closed form."""
    logits = rows(0.5, 0.0, -0.5)
    some = torch.tensor([0, 1])

    def model(x):
        with pyro.plate("data", R, dim=-1), pyro.plate("parts", PARTS, subsample=some, dim=-2):
            d = pyro.sample("d", dist.Categorical(logits=torch.zeros(3).double()))
            pyro.sample("x", dist.Normal(d.double(), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", R, dim=-1), pyro.plate("parts", PARTS, subsample=some, dim=-2):
            pyro.sample("d", dist.Categorical(logits=logits.expand(2, R, 3)))

    one = torch.tensor([0.5, 0.0, -0.5], dtype=torch.float64, requires_grad=True)
    seen = dist.Normal(torch.arange(3.0).double(), 1.0).log_prob(X)
    bound = PARTS * (one.softmax(-1) * (seen - one.log_softmax(-1))).sum()
    (truth,) = torch.autograd.grad(bound, one)
    _, sample = estimates(ELBO(num_particles=2), model, guide, [logits])
    assert largest_z(sample, truth) < 5


def test_a_draw_is_scored_once_however_many_values_are_enumerated_after_it():
    la, lb, loc = rows(0.7), rows(0.3), rows(0.4, -0.3)

    def model(x):
        with pyro.plate("data", R, dim=-1):
            a = pyro.sample("a", dist.Bernoulli(logits=torch.zeros(R).double()))
            b = pyro.sample("b", dist.Bernoulli(logits=a))
            z = pyro.sample("z", dist.Normal(b + a, 1.0))
            pyro.sample("x", dist.Normal(z - 0.5 * b, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", R, dim=-1):
            pyro.sample("a", dist.Bernoulli(logits=la[:, 0]))
            b = pyro.sample("b", dist.Bernoulli(logits=lb[:, 0]), infer=ENUMERATE)
            pyro.sample("z", dist.Normal(loc[:, 0] + b * loc[:, 1], 0.8))

    for objective in (ELBO, IWAE):
        _, score = estimates(objective(num_particles=3, gradient="score"), model, guide, [la, loc])
        _, path = estimates(objective(num_particles=3), model, guide, [la, loc])
        assert largest_z(score - path, 0.0) < 5
        assert path[:, 0].mean().abs() > 0.05


def test_the_covariance_scores_a_draw_once_however_many_values_are_enumerated_after_it(monkeypatch):
    monkeypatch.setitem(globals(), "R", 300)
    logit, loc = rows(0.3, -0.3), rows(0.4)

    def model(x):
        with pyro.plate("data", R, dim=-1):
            d = pyro.sample("d", dist.Bernoulli(logits=torch.zeros(R).double()))
            z = pyro.sample("z", dist.Normal(d, 1.0))
            pyro.sample("x", dist.Normal(z - 0.5 * d, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", R, dim=-1):
            z = pyro.sample("z", dist.Normal(loc[:, 0], 0.8))
            pyro.sample("d", dist.Bernoulli(logits=logit[:, 0] + logit[:, 1] * z), infer=ENUMERATE)

    _, covariance = estimates(TVO(num_particles=200), model, guide, [loc])
    _, path = estimates(TVO(num_particles=200, gradient="dreg"), model, guide, [loc])
    difference = covariance - path
    bias = 5 / 200  # of self-normalised weights, which vary by less than 5 here
    error = difference.std() / len(difference) ** 0.5
    assert difference.mean().abs() < 5 * error + bias * path.mean().abs()


def test_a_value_of_probability_0_counts_0_times():
    """Log 0 in its term is no number."""
    logits = nn.Parameter(torch.tensor([-torch.inf, 0.0, 0.5], dtype=torch.float64))

    def model(x):
        with pyro.plate("data", 2, dim=-1):
            d = pyro.sample("d", dist.Categorical(logits=torch.zeros(3).double()))
            pyro.sample("x", dist.Normal(d.double(), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", 2, dim=-1):
            pyro.sample("d", dist.Categorical(logits=logits.expand(2, 3)), infer=ENUMERATE)

    stock = TraceEnum_ELBO(max_plate_nesting=1).loss(model, guide, X)
    for gradient in ("pathwise", "stl", "score"):
        loss = ELBO(gradient=gradient).differentiable_loss(model, guide, X)
        assert loss.item() == pytest.approx(stock, abs=1e-10)
        assert torch.autograd.grad(loss, logits)[0][1:].isfinite().all()


def test_enumeration_by_draws_is_refused():
    listed = {"enumerate": "parallel", "num_samples": 20}
    for objective in (ELBO(), IWAE(num_particles=2)):
        with pytest.raises(ValueError, match="enumerated by 20 draws of it: leave num_samples out"):
            objective.loss(*category(infer=listed)[:2], X)


def test_a_site_outside_the_plate_with_a_term_for_each_particle_is_refused():
    def model(x, infer=None):
        with pyro.plate("data", 4, dim=-1):
            z = pyro.sample("z", dist.Bernoulli(torch.full((4,), 0.5)), infer=infer)
        pyro.sample("total", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", 4, dim=-1):
            pyro.sample("z", dist.Bernoulli(torch.full((4,), 0.5)))

    for objective in (ELBO(num_particles=3), IWAE(num_particles=4)):
        with pytest.raises(ValueError, match="'total' outside the plate 'data' has . log-prob"):
            objective.loss(model, guide, X)
    with pytest.raises(ValueError, match="'total' outside the plate 'data' has 2 log-prob"):
        ELBO().loss(lambda x: model(x, ENUMERATE), lambda x: None, X)
    ELBO().loss(model, guide, X)


def test_free_bits_take_a_scale_for_each_row():
    """As many rows as dimensions, so that it could go along either."""
    scale, loc = torch.tensor([1.0, 2.0, 3.0]), nn.Parameter(torch.ones(3, 3))

    def model(x):
        with pyro.plate("data", 3, dim=-1), poutine.scale(scale=scale):
            pyro.sample("z", dist.Normal(torch.zeros(3, 3), 1.0).to_event(1))

    def guide(x):
        with pyro.plate("data", 3, dim=-1), poutine.scale(scale=scale):
            pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))

    found = []
    for per in ("site", "dimension"):
        torch.manual_seed(0)
        loss = FreeBits(nats=0.0, per=per, num_particles=500).differentiable_loss(model, guide, X)
        found.append(torch.autograd.grad(loss, loc)[0])
    torch.testing.assert_close(*found)


def test_a_category_of_one_value_adds_no_dimension():
    def model(x):
        with pyro.plate("data", 4, dim=-1):
            d = pyro.sample("d", dist.Categorical(torch.ones(1).double()), infer=ENUMERATE)
            pyro.sample("x", dist.Normal(d.double(), 1.0), obs=x)

    expected = dist.Normal(0.0, 1.0).log_prob(X).expand(3, 4)
    torch.testing.assert_close(log_weights(model, lambda x: None, X, num_particles=3), expected)
