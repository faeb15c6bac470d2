"""Imputation against published figures: MIWAE on breast-cancer data, and a normal known exactly.

    python scripts/missing_values.py                     # both, about three minutes on one core
    python scripts/missing_values.py --epochs 100        # a quick look

Mattei & Frellsen (2019), MIWAE: deep generative modelling and imputation of incomplete data sets. Setting of
their notebook: scikit-learn's breast-cancer data, standardised, half of the values missing completely at
random, 10 latent dimensions, 128 hidden units, Student-t decoder, K = 20; imputation by 10,000 particles.
"""

import argparse
import functools
import json
import math
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer

import pyrovae
from pyrovae.guides import Amortized
from pyrovae.imputation import impute, impute_many
from pyrovae.models import VAE
from pyrovae.objectives import IWAE
from pyrovae.storage.files import write_json

PUBLISHED = 0.287  # mean squared error after 1,001 passes, in the authors' notebook


def breast_cancer(seed):
    """Standardised rows, and the same with half of the values missing."""
    rows = load_breast_cancer().data
    rows = (rows - rows.mean(0)) / rows.std(0)
    random = np.random.RandomState(seed)
    holes = random.choice(rows.size, rows.size // 2, replace=False)
    missing = rows.copy().ravel()
    missing[holes] = np.nan
    return torch.tensor(rows).float(), torch.tensor(missing.reshape(rows.shape)).float()


def bivariate(seed, rows=1000):
    """Draws from N(0, [[2, 1], [1, 2]]), and the same with the first coordinate of half of them missing."""
    random = np.random.RandomState(seed)
    x = random.multivariate_normal([0, 0], [[2, 1], [1, 2]], rows)
    missing = x.copy()
    missing[random.choice(rows, rows // 2, replace=False), 0] = np.nan
    return torch.tensor(x).float(), torch.tensor(missing).float()


def squared_errors(filled, complete, missing):
    """Of the values that were missing."""
    return (filled - complete)[missing.isnan()].square()


def fit(
    missing, *, latent, hidden, likelihood, particles, rate, epochs, batch_size, seed, gradient
):
    """Train on incomplete rows by the importance-weighted bound."""
    torch.manual_seed(seed)
    features = missing.shape[1]
    model = VAE(features, latent=latent, hidden=hidden, likelihood=likelihood)
    guide = Amortized(features, latent, hidden=hidden)
    model.initialise(missing)
    pyrovae.fit(
        model,
        guide,
        missing,
        IWAE(num_particles=particles, gradient=gradient),
        optim=functools.partial(torch.optim.Adam, lr=rate),
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
    )
    return model, guide


def run_breast_cancer(seed, epochs):
    """One record: the error of single imputation beside the published one."""
    complete, missing = breast_cancer(1234 + seed)
    began = time.perf_counter()
    model, guide = fit(
        missing,
        latent=10,
        hidden=(128, 128),
        likelihood="student_t",
        particles=20,
        rate=2e-4,
        epochs=epochs,
        batch_size=32,
        seed=seed,
        gradient="pathwise",
    )
    seconds = time.perf_counter() - began
    single = impute(model, guide, missing, num_particles=10_000)
    many = impute_many(model, guide, missing, num_imputations=20, num_particles=10_000)
    low, high = many.quantile(0.05, 0), many.quantile(0.95, 0)
    inside = ((complete >= low) & (complete <= high))[missing.isnan()].float().mean()
    mean = torch.where(missing.isnan(), missing.nanmean(0), missing)
    return {
        "data": "breast cancer, 569 x 30, half missing",
        "seed": seed,
        "epochs": epochs,
        "mse": float(squared_errors(single, complete, missing).mean()),
        "mse of one draw": float(squared_errors(many[0], complete, missing).mean()),
        "mse of the mean": float(squared_errors(mean, complete, missing).mean()),
        "published": PUBLISHED,
        "inside the middle 90% of 20 draws": float(inside),
        "seconds": seconds,
    }


def run_bivariate(seed, epochs):
    """One record: the error of single imputation beside that of the conditional mean."""
    complete, missing = bivariate(seed)
    began = time.perf_counter()
    model, guide = fit(
        missing,
        latent=1,
        hidden=(64, 64),
        likelihood="gaussian",
        particles=20,
        rate=1e-3,
        epochs=epochs,
        batch_size=100,
        seed=seed,
        gradient="pathwise",
    )
    seconds = time.perf_counter() - began
    errors = squared_errors(impute(model, guide, missing, num_particles=10_000), complete, missing)
    oracle = squared_errors(torch.stack([missing[:, 1] / 2, missing[:, 1]], 1), complete, missing)
    # The same rows for both, so that the difference has a smaller error than either.
    difference = errors - oracle
    return {
        "data": "two-dimensional normal, 1000 rows, half without the first coordinate",
        "seed": seed,
        "epochs": epochs,
        "mse": float(errors.mean()),
        "standard error": float(errors.std() / math.sqrt(len(errors))),
        "oracle": float(oracle.mean()),
        "expected of the oracle": 1.5,
        "above the oracle": float(difference.mean()),
        "standard error of that": float(difference.std() / math.sqrt(len(errors))),
        "seconds": seconds,
    }


def main():
    """Run, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=1001)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", help="a file to write the records to, as JSON")
    options = parser.parse_args()
    records = []
    for seed in range(options.seeds):
        for run in (run_bivariate, run_breast_cancer):
            record = run(
                seed, options.epochs if run is run_breast_cancer else min(options.epochs, 200)
            )
            print(json.dumps(record, indent=1), flush=True)
            records.append(record)
    if options.out:
        command = (
            f"python scripts/missing_values.py --epochs {options.epochs} --seeds {options.seeds}"
        )
        versions = {name: version(name) for name in ("torch", "pyro-ppl", "numpy", "scikit-learn")}
        found = {"command": command, "versions": versions, "records": records}
        write_json(Path(options.out), found)


if __name__ == "__main__":
    main()
