#!/usr/bin/env python
"""Hold the default comparison against what is known exactly, and print each figure beside its limit.

    python scripts/check_comparison.py [comparison]

fits a mixture of Gaussians and probabilistic PCA by SVI on the dequantized digits, beside scikit-learn and
the closed form, and reads ``results.json`` of a finished ``pyrovae compare`` if the folder is there. Exits
with 1 if a figure misses its limit.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.mixture import GaussianMixture as Reference

import pyrovae

RESTARTS = 3


def mixture() -> list[tuple[str, float, float, bool]]:
    """SVI against scikit-learn: components, covariance type, floor and restarts alike."""
    data = pyrovae.data.Digits()
    train, test = data.fixed("train"), data.fixed("test")
    floor = 1e-4
    reference = Reference(
        10, covariance_type="diag", reg_covar=floor, n_init=RESTARTS, random_state=0
    ).fit(train.double().numpy())
    model = pyrovae.models.GaussianMixture(data.features, components=10, floor=floor)
    model.initialise(train, seed=0, restarts=RESTARTS)
    pyrovae.fit(
        model,
        pyrovae.guides.ExactPosterior(model),
        data,
        pyrovae.objectives.ELBO(),
        optim=functools.partial(torch.optim.Adam, lr=1e-2),
        epochs=300,
        progress=False,
    )
    with torch.no_grad():
        ours = float(model.exact_log_evidence(test).mean())
    theirs = float(reference.score(test.double().numpy()))
    same = pyrovae.models.GaussianMixture(data.features, components=10, floor=floor).double()
    same.set_parameters(
        *(
            torch.as_tensor(v)
            for v in (reference.weights_, reference.means_, reference.covariances_)
        )
    )
    with torch.no_grad():
        scores = same.exact_log_evidence(test.double()).numpy()
    expected = reference.score_samples(test.double().numpy())
    difference = float(np.abs(scores / expected - 1).max())
    return [
        (
            "mixture by SVI, test log-likelihood (nats), scikit-learn's less 0.5",
            ours,
            theirs - 0.5,
            ours > theirs - 0.5,
        ),
        (
            "log-density at scikit-learn's parameters, largest relative difference",
            difference,
            1e-6,
            difference < 1e-6,
        ),
    ]


def pca() -> list[tuple[str, float, float, bool]]:
    """SVI against the closed-form maximum of the likelihood, on the training rows of one fixed draw."""
    x = pyrovae.data.Digits().fixed("train")
    best = pyrovae.models.ProbabilisticPCA(x.shape[1], latent=10)
    best.maximise_likelihood(x)
    found = []
    for name, epochs in (("exact posterior", 300), ("linear encoder", 800)):
        torch.manual_seed(0)  # of the encoder's weights
        model = pyrovae.models.ProbabilisticPCA(x.shape[1], latent=10)
        model.initialise(x, seed=0)
        guide = (
            pyrovae.guides.ExactPosterior(model)
            if name == "exact posterior"
            else pyrovae.guides.Amortized(x.shape[1], 10, hidden=())
        )
        pyrovae.fit(
            model,
            guide,
            x,
            pyrovae.objectives.ELBO(),
            optim=functools.partial(torch.optim.Adam, lr=1e-2),
            scheduler=functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs),
            epochs=epochs,
            progress=False,
        )
        with torch.no_grad():
            gap = float((best.exact_log_evidence(x) - model.exact_log_evidence(x)).mean())
        label = f"probabilistic PCA by SVI, {name}: nats below the maximum likelihood"
        found.append((label, gap, 0.05, gap < 0.05))
    return found


def comparison(folder: Path) -> list[tuple[str, float, float, bool]]:
    """What every row of a finished comparison must satisfy."""
    records = json.loads((folder / "results.json").read_text())
    finished = [record for record in records if record["status"] == "finished"]
    worst = max(
        (r["test_elbo"] - r["test_log_evidence"])
        / max(np.hypot(r["test_elbo_se"], r["test_log_evidence_se"]), 1e-6)
        for r in finished
    )
    z = [
        abs(r["test_log_evidence"] - r["exact_log_evidence"]) / max(r["test_log_evidence_se"], 1e-4)
        for r in finished
        if r["exact_log_evidence"] is not None
    ]
    best = {
        name: max(r["test_log_evidence"] for r in finished if r["model"] == name)
        for name in {r["model"] for r in finished}
    }
    lead = best["VAE"] - best["GaussianMixture"]
    return [
        (
            "runs that did not finish",
            float(len(records) - len(finished)),
            0,
            len(records) == len(finished),
        ),
        ("ELBO above the log evidence, standard errors, worst row", worst, 3, worst < 3),
        ("estimate against exact evidence, largest |z|", max(z), 4, max(z) < 4),
        ("best VAE, test log evidence (nats)", best["VAE"], 80, best["VAE"] >= 80),
        ("best VAE less best mixture (nats)", lead, 15, lead >= 15),
    ]


def main(arguments: list[str]) -> int:
    """Print a line per figure; 1 if one misses its limit."""
    folder = Path(arguments[0] if arguments else "comparison")
    figures = mixture() + pca()
    if (folder / "results.json").exists():
        figures += comparison(folder)
    for name, value, limit, holds in figures:
        print(f"{'holds' if holds else 'MISSES':7} {value:12.6g}  limit {limit:<10.6g} {name}")
    return 0 if all(holds for *_, holds in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
