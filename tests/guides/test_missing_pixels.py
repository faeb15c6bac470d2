"""Missing pixels as latent variables, against every completion enumerated."""

import itertools
import math

import pytest
import torch

import pyrovae
from pyrovae import objectives
from pyrovae.guides import ExactPosterior, MissingPixels
from pyrovae.models import BernoulliMixture
from pyrovae.refit import refit

NAN = math.nan
ROWS = torch.tensor(
    [
        [0.0, 1.0, NAN, NAN, 1.0, NAN],
        [1.0, NAN, 0.0, NAN, NAN, NAN],
        [1.0, 1.0, 0.0, 1.0, 0.0, 1.0],
    ],
    dtype=torch.float64,
)


def mixture(components, draw_missing=True):
    torch.manual_seed(1)
    model = BernoulliMixture(6, components=components, draw_missing=draw_missing).double()
    with torch.no_grad():
        model.logits.normal_()
    return model


def completions(row):
    """Every image that agrees with a row, and which pixels were missing."""
    holes = row.isnan().nonzero().flatten()
    every = []
    for values in itertools.product([0.0, 1.0], repeat=len(holes)):
        image = row.clone()
        image[holes] = torch.tensor(values, dtype=row.dtype)
        every.append(image)
    return torch.stack(every), holes


def exact_probabilities(model, row):
    images, _ = completions(row)
    posterior = model.exact_log_evidence(images).softmax(0)
    return posterior @ images


def best_independent(model, row):
    """The mean-field optimum, by coordinate ascent over all completions, from one half."""
    images, holes = completions(row)
    log_joint = model.exact_log_evidence(images)
    q = torch.full((6,), 0.5, dtype=row.dtype)
    for _ in range(500):
        for d in holes:
            others = [h for h in holes if h != d]
            weight = torch.ones(len(images), dtype=row.dtype)
            for h in others:
                weight = weight * torch.where(images[:, h] == 1, q[h], 1 - q[h])
            up, down = images[:, d] == 1, images[:, d] == 0
            logit = (weight * log_joint)[up].sum() - (weight * log_joint)[down].sum()
            q[d] = logit.sigmoid()
    return torch.where(row.isnan(), q, row)


def test_what_is_drawn_is_what_is_integrated_out():
    """The exact posterior of the pixels as guide gives weights whose mean is p(observed), over all draws."""
    model, whole = mixture(3), mixture(3, draw_missing=False)
    for row in ROWS:
        images, _ = completions(row)
        total = model.exact_log_evidence(images).logsumexp(0)
        torch.testing.assert_close(whole.exact_log_evidence(row[None])[0], total)
        found = whole.missing_probabilities(row[None])[0]
        torch.testing.assert_close(found, exact_probabilities(model, row))
    weights = pyrovae.log_weights(whole, ExactPosterior(whole), ROWS, num_particles=3)
    torch.testing.assert_close(weights, whole.exact_log_evidence(ROWS).expand(3, 3))


def test_log_weights_are_the_joint_of_the_completed_image_less_the_guide():
    model, guide = mixture(3), MissingPixels(3, 6).double()
    with torch.no_grad():
        guide.table.normal_()
    torch.manual_seed(4)
    weights = pyrovae.log_weights(model, guide, ROWS, num_particles=500)
    q = guide.probabilities(ROWS)
    for n, row in enumerate(ROWS):
        images, holes = completions(row)
        log_guide = (images * q[n].log() + (1 - images) * (1 - q[n]).log())[:, holes].sum(-1)
        possible = model.exact_log_evidence(images) - log_guide
        distance = (weights[:, n, None] - possible).abs().min(1).values
        assert distance.max() < 1e-9


def test_the_score_function_finds_the_exact_posterior_of_independent_pixels():
    """With one component the missing pixels are independent, and the guide can be exact."""
    model = mixture(1)
    objective = objectives.ELBO(num_particles=50, gradient="score")
    guide = refit(model, MissingPixels(9, 6).double(), ROWS, objective=objective, steps=400)
    expected = torch.stack([exact_probabilities(model, row) for row in ROWS])
    torch.testing.assert_close(guide.probabilities(ROWS), expected, atol=0.02, rtol=0)
    # At the exact posterior every log-weight is the evidence: no draw matters any more.
    with torch.no_grad():
        guide.table.copy_(model.pixel_logits.expand(3, 6))
    weights = pyrovae.log_weights(model, guide, ROWS, num_particles=20)
    images = [model.exact_log_evidence(completions(row)[0]).logsumexp(0) for row in ROWS]
    torch.testing.assert_close(weights, torch.stack(images).expand(20, 3), atol=1e-10, rtol=0)


def test_the_score_function_finds_the_best_independent_answer():
    model = mixture(3)
    with torch.no_grad():
        model.pixel_logits.mul_(
            2.0
        )  # images so different that their pixels are far from independent
    objective = objectives.ELBO(num_particles=100, gradient="score")
    guide = refit(model, MissingPixels(9, 6).double(), ROWS, objective=objective, steps=600)
    expected = torch.stack([best_independent(model, row) for row in ROWS])
    torch.testing.assert_close(
        guide.probabilities(ROWS).detach(), expected.detach(), atol=0.03, rtol=0
    )
    exact = torch.stack([exact_probabilities(model, row) for row in ROWS])
    assert (expected - exact).abs().max() > 0.03  # so that the two are told apart


def test_numbers_of_observed_pixels_never_move():
    model = mixture(2)
    guide = refit(model, MissingPixels(9, 6).double(), ROWS, steps=5)
    assert (guide.table[~ROWS.isnan()] == 0).all()
    assert (guide.table[ROWS.isnan()] != 0).all()


def test_em_of_a_bernoulli_mixture_raises_the_likelihood():
    torch.manual_seed(0)
    x = (
        torch.rand(200, 6) < torch.tensor([[0.1] * 3 + [0.9] * 3] * 100 + [[0.8] * 6] * 100)
    ).double()
    model = BernoulliMixture(6, components=2).double()
    model.initialise(x, seed=0)
    values = []
    for _ in range(30):
        values.append(model.exact_log_evidence(x).mean().item())
        model.maximise_likelihood(x, model.posterior(x).probs)
    # The prior of half a pixel each is what the last steps may give up likelihood for.
    assert values[-1] > values[0] + 0.1
    assert all(later > earlier - 1e-3 for earlier, later in itertools.pairwise(values))


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="size must be a whole number of at least 1; got 0"):
        MissingPixels(0, 4)
    with pytest.raises(ValueError, match="pass the rows' numbers as index="):
        MissingPixels(7, 6)(ROWS)
    with pytest.raises(ValueError, match="components must be a whole number"):
        BernoulliMixture(4, components=0)
    with pytest.raises(ValueError, match="other than 0 and 1"):
        mixture(2).check_data(torch.tensor([[0.5] * 6]))
