"""Waiting to be fast must never make a fit take more than a tenth longer."""

import importlib

import pytest
import torch

from pyrovae import guides, models, objectives
from pyrovae.step import policy
from pyrovae.step.policy import Policy


def fit(length, *, known, eager, played, compiled, recording, compiling, kinds=1):
    """Seconds that a fit takes under the policy, and without it."""
    decides = Policy("auto", length if known else None)
    seconds, state = 0.0, dict.fromkeys(range(kinds), "eager")
    for n in range(length):
        kind = n % kinds
        decides.taken += 1
        if state[kind] == "eager" and decides.worth_recording(kind):
            seconds += recording
            state[kind] = "played"
            continue
        if state[kind] == "played" and decides.worth_compiling(kind):
            seconds += compiling
            state[kind] = "compiled"
            continue
        if state[kind] == "eager":
            decides.took(kind, eager)
            seconds += eager
        elif state[kind] == "played":
            decides.played(kind, played)
            seconds += played
        else:
            seconds += compiled
    return seconds, length * eager


LENGTHS = [1, 10, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000]
# Milliseconds of a step in Python, played and compiled: small and large models; nothing gained at all.
STEPS = [(3.0, 1.2, 0.35), (9.0, 6.0, 5.0), (6.0, 3.3, 1.9), (40.0, 35.0, 33.0)]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kinds", [1, 2])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("steps", STEPS)
def test_no_fit_takes_more_than_a_tenth_longer(length, known, kinds, steps, monkeypatch):
    monkeypatch.setattr(policy, "loaded", lambda module: False)
    eager, played, compiled = (1e-3 * step for step in steps)
    # The dearest recording and compilation that were seen.
    recording = policy.recording_takes(eager)
    took, without = fit(
        length,
        known=known,
        eager=eager,
        played=played,
        compiled=compiled,
        recording=recording + policy.LOAD_RECORDER,
        compiling=policy.COMPILING + policy.LOAD_COMPILER,
        kinds=kinds,
    )
    assert took <= 1.1 * without


def test_long_fits_are_compiled():
    took, without = fit(
        300_000,
        known=True,
        eager=3e-3,
        played=1.2e-3,
        compiled=0.35e-3,
        recording=0.4,
        compiling=16.0,
    )
    assert took < 0.2 * without


def test_reproducible_runs_are_not_compiled_by_a_clock():
    decides = Policy("auto", 10**9, reproducible=True)
    decides.taken = 1
    decides.played("kind", 1.0)
    assert not decides.worth_compiling("kind")
    assert Policy("compiled", reproducible=True).worth_compiling("kind")


@pytest.mark.parametrize(("particles", "level"), [(1, "auto"), (64, "compiled")])
def test_fits_with_many_particles_are_compiled_from_fewer_steps(particles, level, monkeypatch):
    asked = {}

    def svi(*programs, **options):
        asked.update(options)
        raise InterruptedError

    fitting = importlib.import_module("pyrovae.fit")
    monkeypatch.setattr(fitting, "SVI", svi)
    model = models.VAE(2, latent=1, hidden=[2])
    guide = guides.Amortized(2, 1, hidden=[2])
    with pytest.raises(InterruptedError):
        fitting.fit(
            model,
            guide,
            torch.zeros(100, 2),
            objectives.IWAE(num_particles=particles),
            epochs=10_000,
            batch_size=100,
            progress=False,
        )
    assert asked["level"] == level
