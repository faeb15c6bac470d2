"""What must hold for any data, weights and parameters, tried on many. PYROVAE_EXAMPLES sets how many."""

import functools
import math
import os

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from pyrovae import checkpoint
from pyrovae.fit import fit
from pyrovae.guides import Amortized, ExactPosterior
from pyrovae.log_weights import log_weights
from pyrovae.models import VAE, GaussianMixture, ProbabilisticPCA
from pyrovae.objectives import ELBO, IWAE, Renyi
from pyrovae.sampling.psis import effective_sample_size, k_hat
from pyrovae.sources.batches import Batches
from pyrovae.surrogates.bounds import leave_one_out, log_mean_exp, renyi_bound

many = settings(max_examples=int(os.environ.get("PYROVAE_EXAMPLES", "15")), deadline=None)
seeds = st.integers(0, 2**31)
alphas = st.sampled_from([-2.0, 0.0, 0.5, 0.999, 2.0, 5.0])


def generated(seed, *shape, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def exact_models(seed):
    torch.manual_seed(seed)
    pca = ProbabilisticPCA(4, latent=2).double()
    mixture = GaussianMixture(4, components=3).double()
    return [pca, mixture]


def close(one, other, tolerance=1e-10):
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance)


@given(seeds, st.permutations(range(6)))
@many
def test_rows_are_scored_alike_in_any_order(seed, order):
    x = generated(seed, 6, 4)
    for model in exact_models(seed):
        guide = ExactPosterior(model)
        one = log_weights(model, guide, x, num_particles=3)
        other = log_weights(model, guide, x[list(order)], num_particles=3)
        assert close(one[:, list(order)], other)
        assert close(
            model.exact_log_evidence(x)[list(order)], model.exact_log_evidence(x[list(order)])
        )


@given(seeds, st.integers(1, 6), st.integers(2, 4), alphas)
@many
def test_every_particle_twice_changes_no_bound(seed, particles, times, alpha):
    weights = generated(seed, particles, 5, scale=10.0)
    again = weights.repeat(times, 1)
    assert close(log_mean_exp(weights), log_mean_exp(again))
    assert close(renyi_bound(weights, alpha), renyi_bound(again, alpha), 1e-9)
    assert close(times * effective_sample_size(weights), effective_sample_size(again), 1e-9)


@given(seeds, st.floats(-1e5, 1e5), alphas)
@many
def test_a_shift_of_the_weights_shifts_the_bounds(seed, shift, alpha):
    weights = generated(seed, 30, 4, scale=5.0)
    tolerance = 1e-9 * max(1.0, abs(shift))
    for bound in (log_mean_exp, functools.partial(renyi_bound, alpha=alpha)):
        assert torch.allclose(
            bound(weights + shift), bound(weights) + shift, rtol=0, atol=tolerance
        )
    assert torch.allclose(
        leave_one_out(weights + shift), leave_one_out(weights) + shift, rtol=0, atol=tolerance
    )
    assert torch.allclose(k_hat(weights + shift), k_hat(weights), rtol=0, atol=1e-5)
    assert torch.allclose(
        effective_sample_size(weights + shift), effective_sample_size(weights), rtol=1e-6, atol=0
    )


@given(seeds, st.integers(2, 20))
@many
def test_the_bounds_are_in_their_order(seed, particles):
    weights = generated(seed, particles, 4, scale=3.0)
    bounds = [renyi_bound(weights, alpha) for alpha in (-math.inf, -1.0, 0.0, 0.5, 2.0)]
    bounds.insert(4, weights.mean(0))
    ordered = [*bounds[:5], bounds[5]]
    assert all((a >= b - 1e-10).all() for a, b in zip(ordered, ordered[1:], strict=False))


@given(seeds, st.integers(1, 9), st.sampled_from([1, 3]))
@many
def test_a_batch_in_parts_adds_up(seed, cut, particles):
    x = generated(seed, 10, 4)
    for model in exact_models(seed):
        guide = ExactPosterior(model)
        for objective in (ELBO(num_particles=particles), Renyi(alpha=0.5, num_particles=particles)):
            parts = [objective.loss(model, guide, rows) for rows in x.split([cut, 10 - cut])]
            assert sum(parts) == pytest.approx(objective.loss(model, guide, x), rel=1e-10)


@given(seeds, st.integers(1, 40), st.integers(1, 15), st.integers(0, 40))
@many
def test_batches_visit_every_row_once_wherever_they_are_taken_up(seed, rows, batch, stop):
    whole = Batches(rows, batch, seed=seed)
    visited = [index.tolist() for index in whole]
    assert sorted(sum(visited, [])) == list(range(rows))
    first = Batches(rows, batch, seed=seed)
    seen = []
    for index in first:
        seen.append(index.tolist())
        if len(seen) > stop:
            break
    second = Batches(rows, batch, seed=0)
    second.load_state_dict(first.state_dict())
    rest = [index.tolist() for index in second] if second.epoch == 0 else []
    assert seen + rest == visited


@given(seeds, st.floats(-math.pi, math.pi))
@many
def test_a_rotated_probabilistic_pca_is_the_same_model(seed, angle):
    torch.manual_seed(seed)
    model = ProbabilisticPCA(4, latent=2).double()
    x = generated(seed, 6, 4)
    before = model.exact_log_evidence(x)
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]],
        dtype=torch.float64,
    )
    with torch.no_grad():
        model.weight.copy_(model.weight @ turn)
    assert close(model.exact_log_evidence(x), before)
    scored = log_weights(model, ExactPosterior(model), x, num_particles=2)
    assert close(scored, before.expand(2, 6))


@given(seeds, st.integers(1, 4), st.integers(1, 3))
@many
def test_saving_and_loading_changes_nothing(seed, wide, latent):
    import tempfile

    torch.manual_seed(seed)
    model, guide = VAE(4, latent=latent, hidden=(wide,)), Amortized(4, latent, hidden=(wide,))
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/x.safetensors"
        checkpoint.save(path, checkpoint.parameters(model=model, guide=guide), {"seed": seed})
        tensors, metadata = checkpoint.load(path)
    assert metadata == {"seed": seed}
    others = VAE(4, latent=latent, hidden=(wide,)), Amortized(4, latent, hidden=(wide,))
    checkpoint.restore(tensors, model=others[0], guide=others[1])
    x = generated(seed, 5, 4).float()
    scores = []
    for pair in ((model, guide), others):
        torch.manual_seed(0)
        scores.append(log_weights(*pair, x, num_particles=3))
    assert torch.equal(*scores)


@given(seeds, st.sampled_from([1, 2, 5]), st.integers(1, 7))
@many
def test_a_fit_is_the_same_however_often_it_is_taken_up(seed, every, epochs):
    import tempfile

    x = generated(0, 12, 4).float()

    def carried_out(*stops, folder=None):
        torch.manual_seed(0)
        model, guide = VAE(4, latent=1, hidden=(2,)), Amortized(4, 1, hidden=(2,))
        start = [p.detach().clone() for p in (*model.parameters(), *guide.parameters())]
        for stop in stops:
            with torch.no_grad():
                for p, s in zip((*model.parameters(), *guide.parameters()), start, strict=True):
                    p.copy_(s)
            where = {} if folder is None else {"run_dir": folder, "resume": True}
            objective = IWAE(num_particles=2)
            options = {
                "epochs": stop,
                "batch_size": 5,
                "seed": seed,
                "progress": False,
                "level": "eager",
            }
            fit(model, guide, x, objective, **options, **where)
        return [p.detach().clone() for p in (*model.parameters(), *guide.parameters())]

    with tempfile.TemporaryDirectory() as folder:
        stops = [*range(every, epochs, every), epochs]
        pieces = carried_out(*stops, folder=folder)
    assert all(torch.equal(a, b) for a, b in zip(pieces, carried_out(epochs), strict=True))
