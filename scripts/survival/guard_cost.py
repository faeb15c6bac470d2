"""What it costs to look for numbers that are none: seconds in the guard, in percent of a fit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from figures import Figure

from pyrovae.fit import fit
from pyrovae.guides import Amortized, PerDatapoint
from pyrovae.models import VAE, ProbabilisticPCA
from pyrovae.objectives import ELBO, IWAE
from pyrovae.training.guard import EVERY, Guard

MOST = 2.0  # percent
ROWS, FEATURES, BATCH = 6400, 64, 64
SHORT = 704  # rows of a data set whose passes have 11 steps


def _vae(hidden: int) -> tuple[Any, Any]:
    sizes = {"hidden": (hidden, hidden)}
    return VAE(FEATURES, latent=8, **sizes), Amortized(FEATURES, 8, **sizes)


def _pca() -> tuple[Any, Any]:
    return ProbabilisticPCA(FEATURES, latent=8), PerDatapoint(ROWS, 8)


# The parts, the objective, and how steps are taken.
FITS: dict[str, tuple[Callable[[], tuple[Any, Any]], Callable[[], Any], str, int]] = {
    "VAE of 128 units, ELBO, eager": (lambda: _vae(128), ELBO, "eager", ROWS),
    "VAE of 128 units, ELBO, recorded": (lambda: _vae(128), ELBO, "traced", ROWS),
    "VAE of 128 units, ELBO, recorded, short passes": (lambda: _vae(128), ELBO, "traced", SHORT),
    "VAE of 128 units, IWAE of 5, recorded": (
        lambda: _vae(128),
        lambda: IWAE(num_particles=5),
        "traced",
        ROWS,
    ),
    "VAE of 128 units, ELBO, compiled": (lambda: _vae(128), ELBO, "compiled", ROWS),
    "VAE of 128 units, ELBO, compiled, short passes": (
        lambda: _vae(128),
        ELBO,
        "compiled",
        SHORT,
    ),
    "VAE of 512 units, ELBO, recorded": (lambda: _vae(512), ELBO, "traced", ROWS),
    "ProbabilisticPCA with a table, ELBO, recorded": (_pca, ELBO, "traced", ROWS),
}


def cost(quick: bool) -> list[Figure]:
    """Fits of many kinds; the guard is called in every step, and looks now and then."""
    cheap, worst = 0, 0.0
    fits = dict(list(FITS.items())[::3]) if quick else FITS
    for name, case in fits.items():
        share = _share(*case, steps=300 if quick else 900)
        print(f"    {name}: {share:.2f} %", flush=True)
        cheap += share <= MOST
        worst = max(worst, share)
    note = f"worst {worst:.2f} %"
    return [Figure("fits in which the guard takes 2 % of the time or less", cheap, len(fits), note)]


def _share(
    parts: Callable[[], tuple[Any, Any]], objective: Any, level: str, rows: int, *, steps: int
) -> float:
    """Percent of a fit, without its first steps, that passes in the guard."""
    torch.manual_seed(0)
    model, guide = parts()
    spent = 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(guard: Guard) -> Any:
            nonlocal spent
            began = time.perf_counter()
            try:
                return function(guard)
            finally:
                spent += time.perf_counter() - began

        return call

    ends: list[tuple[float, float]] = []
    # `look` calls `check` and `keep`: timed inside it, they would count twice.
    inner = {"check": Guard.check, "keep": Guard.keep}

    def look(guard: Guard) -> None:
        if guard.state.steps - guard.since >= EVERY:
            inner["check"](guard)
            inner["keep"](guard)

    with (
        mock.patch.object(Guard, "look", timed(look)),
        mock.patch.object(Guard, "check", timed(inner["check"])),
        mock.patch.object(Guard, "keep", timed(inner["keep"])),
    ):
        fit(
            model,
            guide,
            torch.rand(rows, FEATURES),
            objective(),
            epochs=steps * BATCH // rows,
            batch_size=BATCH,
            level=level,  # type: ignore[arg-type]
            progress=False,
            on_epoch=lambda _: ends.append((time.perf_counter(), spent)),
        )
    (began, before), (end, after) = ends[len(ends) // 8], ends[-1]
    return 100 * (after - before) / (end - began)
