"""What a run shows of itself: samples, reconstructions, latent positions, mixture components.

Everything is asked of the programs by running them, so it works for any model with the sites ``"z"`` and
``"x"``. The names and shapes are those of `pyrovae.records.ARRAYS`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyro import poutine
from torch import Tensor

from pyrovae.programs import ExactModel, GenerativeModel, Program, own_parameters
from pyrovae.running.evaluation import ROWS_AT_ONCE, rows_of_part
from pyrovae.sources.dataset import DataSet

Arrays = dict[str, NDArray[Any]]

SAMPLES = 64
IMAGES = 32
DRAWS = 32
MEMBERS = 12


def pictures(model: Program, guide: Program, data: DataSet, *, seed: int = 0) -> Arrays:
    """Everything below that the model and the data allow.

    Args:
        model: p(x, z).
        guide: q(z | x); one with parameters for every row has those of the test rows.
        data: where test rows and labels come from.
        seed: of the draws; the global random state is left as it was found.
    """
    x = rows_of_part(model, data, "test")[:ROWS_AT_ONCE]
    with torch.no_grad(), torch.random.fork_rng(), own_parameters():
        torch.manual_seed(seed)
        found = samples(model, x) | reconstructions(model, guide, x)
        latent = posterior_means(guide, x)
        if latent is not None:
            found |= latent_positions(latent)
        if isinstance(model, ExactModel) and isinstance(model, GenerativeModel) and latent is None:
            found |= components(model, x, data.test.labels)
    if latent is not None and data.test.labels is not None:
        found["latent_labels"] = data.test.labels[: len(x)].numpy()
    if len(data.shape) == 2:
        found["image_shape"] = np.asarray(data.shape)
    return found


def samples(model: Program, x: Tensor) -> Arrays:
    """Draws from p(x), and the means of p(x | z) at the same draws of z."""
    some = x[:1].expand(SAMPLES, -1)  # only its shape matters: x is drawn, not observed
    site: Any = poutine.trace(poutine.uncondition(model)).get_trace(some).nodes["x"]
    return {"samples": _numpy(site["value"]), "sample_means": _numpy(site["fn"].mean)}


def reconstructions(model: Program, guide: Program, x: Tensor) -> Arrays:
    """The mean of p(x | z) over draws of z from the guide, for the first test rows."""
    total = torch.zeros_like(x)
    for _ in range(DRAWS):
        drawn = poutine.trace(guide).get_trace(x)
        site: Any = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(x).nodes["x"]
        total += site["fn"].mean
    return {"test_images": _numpy(x[:IMAGES]), "reconstructions": _numpy(total[:IMAGES] / DRAWS)}


def posterior_means(guide: Program, x: Tensor) -> Tensor | None:
    """(M, L): the mean of draws of z for each row; None where z is not a vector of numbers."""
    drawn: list[Any] = [poutine.trace(guide).get_trace(x).nodes.get("z") for _ in range(DRAWS)]
    values: list[Tensor] = [site["value"] for site in drawn if site is not None]
    if not values or values[0].ndim != 2 or not values[0].is_floating_point():
        return None
    return torch.stack(values).mean(0)


def latent_positions(latent: Tensor) -> Arrays:
    """Posterior means in two dimensions: as they are, or along their first two principal axes."""
    if latent.shape[1] == 1:
        return {
            "latent_2d": _numpy(torch.cat([latent, torch.zeros_like(latent)], 1)),
            "latent_axes": np.array(["z", ""]),
        }
    if latent.shape[1] == 2:
        return {"latent_2d": _numpy(latent), "latent_axes": np.array(["z 1", "z 2"])}
    centred = latent - latent.mean(0)
    _, scale, axes = torch.linalg.svd(centred, full_matrices=False)
    share = (100 * scale**2 / (scale**2).sum()).tolist()
    axes = axes * axes[:, axes.abs().argmax(1)].diagonal().sign()[:, None]  # a sign that stays
    names = [f"principal axis {i + 1} ({share[i]:.0f}% of the variance)" for i in range(2)]
    return {"latent_2d": _numpy(centred @ axes[:2].T), "latent_axes": np.array(names)}


def components(model: Any, x: Tensor, labels: Tensor | None) -> Arrays:
    """Each mixture component: its mean image, its weight, and the test rows that belong to it."""
    weights = model.prior().probs
    each = torch.arange(len(weights), device=x.device)
    responsibility = model.posterior(x).probs
    cluster = responsibility.argmax(1)
    examples = x.new_full((len(each), MEMBERS, x.shape[1]), torch.nan)
    for c in range(len(each)):
        members = x[cluster == c]
        surest = responsibility[cluster == c, c].argsort(descending=True)[:MEMBERS]
        examples[c, : len(surest)] = members[surest]
    found = {
        "component_means": _numpy(model.decode(each).mean),
        "component_weights": _numpy(weights),
        "component_examples": _numpy(examples),
    }
    if labels is not None:
        labels = labels[: len(x)]
        table = np.zeros((len(each), int(labels.max()) + 1), dtype=np.int64)
        np.add.at(table, (cluster.cpu().numpy(), labels.numpy()), 1)
        found["component_labels"] = table
    return found


def _numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array
