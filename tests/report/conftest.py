"""Run folders as a comparison writes them: real digits, plain NumPy models, made-up training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from pyrovae.records import OutputFolder

DATA = {
    "name": "digits",
    "form": "dequantized",
    "shape": [8, 8],
    "features": 64,
    "rows": {"train": 1200, "validation": 200, "test": 397},
    "split_seed": 0,
}
# model, guide, objective, options of the objective, log evidence, gap, seconds, exact evidence
RUNS: tuple[tuple[str, str, str, dict[str, Any], float, float, float, bool], ...] = (
    ("GaussianMixture", "ExactPosterior", "Trace_ELBO", {}, 54.92, 0.0, 4.1, True),
    ("ProbabilisticPCA", "ExactPosterior", "Trace_ELBO", {}, 61.37, 0.0, 6.3, True),
    ("ProbabilisticPCA", "Amortized", "Trace_ELBO", {}, 60.98, 0.42, 9.8, True),
    ("ProbabilisticPCA", "PerDatapoint", "Trace_ELBO", {}, 61.02, 0.31, 12.0, True),
    ("ProbabilisticPCA", "Amortized", "Renyi", {"alpha": 0.5}, 61.11, 0.66, 10.9, True),
    ("VAE", "Amortized", "Trace_ELBO", {}, 80.9, 2.1, 21.0, False),
    ("VAE", "Amortized", "Renyi", {"alpha": 0.5, "num_particles": 8}, 83.2, 3.6, 31.0, False),
    ("VAE", "Amortized", "IWAE", {"num_particles": 8}, 83.9, 4.9, 30.2, False),
    ("VAE", "PerDatapoint", "Trace_ELBO", {}, 71.3, 7.7, 40.5, False),
    ("VAE", "PerDatapoint", "Renyi", {"alpha": 0.5, "num_particles": 8}, 72.6, 8.8, 44.0, False),
    ("VAE", "PerDatapoint", "IWAE", {"num_particles": 8}, 73.0, 9.6, 44.5, False),
)


def fill(folder: OutputFolder, seeds: tuple[int, ...] = (0,)) -> OutputFolder:
    """Write every run of `RUNS` for every seed, as a comparison does."""
    images, labels = load_digits(return_X_y=True)
    noise = np.random.default_rng(0)
    images = (images + noise.uniform(size=images.shape)) / 17
    for seed in seeds:
        for row in RUNS:
            _write(folder, row, seed, images, labels)
    folder.write_results(folder.records())
    return folder


def _write(
    folder: OutputFolder, row: tuple[Any, ...], seed: int, images: NDArray[Any], labels: Any
) -> None:
    model, guide, objective, options, evidence, gap, seconds, exact = row
    noise = np.random.default_rng([seed, RUNS.index(row)])
    run = folder.run(f"{model}-{guide}-{objective}-seed{seed}".lower())
    run.start(f"model: {model}\nguide: {guide}\nobjective: {objective}\nseed: {seed}\n")
    of_rows = 9 * np.sin(np.arange(397)) + noise.normal(evidence, 4, size=397)
    of_rows += evidence + 0.2 * noise.normal() * (seed > 0) - of_rows.mean()
    mean = float(of_rows.mean())
    steps = np.arange(0, 1001, 10)
    bound = (mean - gap) - 90 * np.exp(-steps / 90) + noise.normal(0, 0.25, size=steps.size)
    rows = [
        {
            "step": int(step),
            "epoch": int(step) // 10,
            "seconds": seconds * step / 1000,
            "train_bound": at + 0.6,
            "validation_bound": None if guide == "PerDatapoint" else at,
        }
        for step, at in zip(steps, bound, strict=True)
    ]
    run.append_metrics(rows)
    arrays = _pictures(model, images, labels, noise)
    run.write_arrays({**arrays, "image_shape": [8, 8], "test_log_evidence": of_rows})
    record = {
        "name": run.name,
        "status": "finished",
        "error": None,
        "data": DATA,
        "model": model,
        "guide": guide,
        "objective": objective,
        "model_options": {},
        "guide_options": {},
        "objective_options": options,
        "seed": seed,
        "test_elbo": mean - gap,
        "test_elbo_se": 0.03 if gap else 0.0,
        "test_log_evidence": mean + (0.01 if exact and gap else 0.0),
        "test_log_evidence_se": 0.012 if gap else 0.0,
        "exact_log_evidence": mean if exact else None,
        "inference_gap": gap,
        "train_seconds": seconds,
        "evaluate_seconds": 3.0,
        "parameters": {"GaussianMixture": 1290, "ProbabilisticPCA": 705, "VAE": 58_260}[model],
        "epochs": 100,
        "steps": 1000,
        "k_hat_bad_share": 0.02,
        "versions": {"pyrovae": "0.1.0", "torch": "2.13.0", "pyro-ppl": "1.9.2"},
    }
    run.write_record(record)


def _pictures(model: str, images: NDArray[Any], labels: Any, noise: Any) -> dict[str, NDArray[Any]]:
    train, test = images[:1200], images[1400:]
    if model == "GaussianMixture":
        return _clusters(train, labels[:1200], noise)
    kept = 10 if model == "ProbabilisticPCA" else 25
    centre = train.mean(0)
    _, sizes, directions = np.linalg.svd(train - centre, full_matrices=False)
    codes = (test - centre) @ directions[:kept].T
    scale = sizes[:kept] / np.sqrt(len(train))
    draws = noise.normal(size=(32, kept)) * scale
    if model == "VAE":  # near a real row's code, so that it looks like a digit
        draws = codes[noise.choice(len(codes), 32)] + 0.3 * draws
    means = centre + draws @ directions[:kept]
    return {
        "test_images": test[:32],
        "reconstructions": centre + codes[:32] @ directions[:kept],
        "samples": means + noise.normal(scale=0.12, size=means.shape),
        "sample_means": means,
        "latent_2d": codes[:, :2],
        "latent_labels": labels[1400:],
        "latent_axes": np.array(["first principal direction", "second principal direction"]),
    }


def _clusters(train: NDArray[Any], labels: Any, noise: Any) -> dict[str, NDArray[Any]]:
    found = KMeans(10, n_init=1, random_state=0).fit(train)
    members = [np.flatnonzero(found.labels_ == c) for c in range(10)]
    drawn = noise.choice(10, 32)
    means = found.cluster_centers_[drawn]
    return {
        "samples": means + noise.normal(scale=0.2, size=means.shape),
        "sample_means": means,
        "component_means": found.cluster_centers_,
        "component_weights": np.array([len(m) / len(train) for m in members]),
        "component_examples": np.stack([train[m[:12]] for m in members]),
        "component_labels": np.stack([np.bincount(labels[m], minlength=10) for m in members]),
    }


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    """A finished comparison: three models, eleven runs, one seed. To be read only."""
    path: Path = tmp_path_factory.mktemp("report") / "out"
    return fill(OutputFolder.claim(path))


@pytest.fixture(scope="session")
def seeds_folder(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    """The same with three seeds. To be read only."""
    path: Path = tmp_path_factory.mktemp("report") / "out"
    return fill(OutputFolder.claim(path), seeds=(0, 1, 2))
