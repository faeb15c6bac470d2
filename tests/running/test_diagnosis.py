"""Everything at once: what applies is computed, what does not says why, and the words fit the numbers."""

import pytest
import torch

from pyrovae.guides import Amortized, ExactPosterior, PerDatapoint
from pyrovae.models import VAE, GaussianMixture, ProbabilisticPCA
from pyrovae.running.diagnosis import Budget, diagnose
from pyrovae.running.verdicts import verdicts

SMALL = Budget(
    particles=60,
    chain_rows=4,
    chains=4,
    temperatures=10,
    gap_rows=5,
    gap_steps=20,
    information_rows=20,
    simulations=100,
    refit_steps=10,
)


def data(rows=30):
    return torch.rand(rows, 6), torch.arange(rows) % 3


def test_a_vae_is_looked_at_from_all_sides():
    model, guide = VAE(6, latent=2, hidden=(8,)), Amortized(6, 2, hidden=(8,))
    x, labels = data()
    seen = []
    state = torch.get_rng_state()
    found = diagnose(
        model,
        guide,
        x,
        labels=labels,
        train=(x, labels),
        budget=SMALL,
        progress=lambda *at: seen.append(at),
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert found.skipped == {}
    assert [number for _, number, _ in seen] == list(range(8))
    assert found.rows["k_hat"].shape == (30,)
    said = verdicts(found.numbers)
    assert len(said) == 10
    assert all(sentence.endswith(".") for sentence in said)
    assert found.numbers.keys() >= {
        "annealed_log_evidence",
        "sandwich_gap",
        "calibration_p",
        "units",
    }


def test_an_exact_guide_is_told_that_nothing_is_lost():
    model = ProbabilisticPCA(6, latent=2)
    found = diagnose(model, ExactPosterior(model), data()[0], budget=SMALL)
    assert found.numbers["k_hat_bad_share"] == 0
    assert found.numbers["log_evidence"] == pytest.approx(
        found.numbers["exact_log_evidence"], abs=1e-4
    )
    assert set(found.skipped) == {"gaps", "linear probe"}
    assert "does not say which family" in found.skipped["gaps"]
    said = " ".join(verdicts(found.numbers))
    assert "importance sampling with this guide can be trusted" in said


def test_mixtures_and_tables_of_rows():
    x, labels = data()
    mixture = GaussianMixture(6, components=3)
    found = diagnose(mixture, ExactPosterior(mixture), x, labels=labels, budget=SMALL)
    assert found.skipped == {}
    assert "cluster_purity" in found.numbers
    pca = ProbabilisticPCA(6, latent=2)
    rows = diagnose(pca, PerDatapoint(7, 2), x, labels=labels, train=(x, labels), budget=SMALL)
    assert set(rows.skipped) == {"gaps", "linear probe"}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"k_hat_bad_share": 0.004}, "Less than 1% of the rows"),
        ({"k_hat_bad_share": 0.9999}, "99% of the rows"),
        ({"annealed_less_importance": 2.0}, "misses a part of the posterior"),
        ({"annealed_less_importance": -2.0}, "chains are too short"),
        (
            {"annealed_less_importance_se": 0.001, "annealed_less_importance": 0.2},
            "its estimate is too low",
        ),
        ({"sandwich_gap": 3.0}, "needs more temperatures"),
        ({"sandwich_gap": -0.012}, "the same to within 0.01 nats"),
        ({"calibration_p": 0.0}, "p < 1e-99"),
        ({"approximation_gap": 2.0, "amortization_gap": 0.1}, "richer family ('full' or 'flow')"),
        ({"approximation_gap": 0.1, "amortization_gap": 2.0}, "larger encoder, or guides.Semi"),
        ({"approximation_gap": 0.0, "amortization_gap": 0.0}, "nothing to gain"),
        ({"gaps_converged": 0.0}, "still rising"),
        ({"mutual_information": 0.01}, "collapsed"),
        ({"mutual_information": 4.6}, "tells every row"),
        ({"mismatch": 3.0}, "where no data are"),
        ({"calibration_p": 1e-9}, "shifted and of the wrong width"),
        ({"predictive_p_mean": 0.0}, "differ from them in mean (too low)"),
    ],
)
def test_the_words_fit_the_numbers(numbers, expected):
    plain = {
        "particles": 1000,
        "ess_median": 100,
        "k_hat_bad_share": 0.0,
        "k_hat_threshold": 0.7,
        "annealed_rows": 10,
        "annealed_log_evidence": 1.0,
        "annealed_log_evidence_se": 0.1,
        "annealed_less_importance": 0.0,
        "sandwich_gap": 0.1,
        "gap_rows": 10,
        "approximation_gap": 0.1,
        "amortization_gap": 0.1,
        "inference_gap": 0.2,
        "information_rows": 100,
        "mutual_information": 2.0,
        "mismatch": 0.1,
        "calibration_p": 0.5,
        "calibration_shift_p": 1e-9,
        "calibration_width_p": 1e-9,
        "calibration_simulations": 1000,
        "predictive_p_mean": 0.5,
        "predictive_p_largest": 0.5,
    }
    said = " ".join(verdicts(plain))
    assert expected not in said
    assert "they agree" in said
    assert "about as much" in said
    assert expected in " ".join(verdicts(plain | numbers))
