"""A model, a guide and data as ArviZ sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import pyrovae
from pyrovae.arviz_bridge import inference_data
from pyrovae.log_weights import run_particles
from pyrovae.programs import Program, own_parameters
from pyrovae.registry.plain import whole_numbers
from pyrovae.sampling.posterior import posterior_draws, replicate, rows_axis, simulate, the_observed
from pyrovae.sampling.psis import k_hat
from pyrovae.sampling.rows import as_rows
from pyrovae.waist.joint import Values, density
from pyrovae.waist.sites import Layout, find_layout


def to_inference_data(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    chains: int = 4,
    draws: int = 100,
    coords: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
    **kwargs: Any,
) -> Any:
    """Turn model, guide and data into ArviZ's data, for its tables and plots.

    The groups are posterior (draws of the guide), prior, both predictives, log-likelihood per datapoint,
    observed data, and sample statistics (``log_weights`` by draw and row, ``k_hat`` by row). Draws of a
    guide are independent, so "chains" only divide them, for diagnostics that compare chains.

    Args:
        model: p(x, z).
        guide: q(z | x), which draws every latent.
        x: (B, D) or (B,); its dimensions are called ``row`` and ``feature``, those of a latent
            ``<site>_dim``.
        chains: C.
        draws: draws in each chain; the weights of all C * draws make k-hat.
        coords: labels by dimension, such as ``{"row": names}``.
        seed: of the draws; the global random state is left as it was.
        **kwargs: keyword arguments of both programs.

    Returns:
        An ``arviz.InferenceData`` (ArviZ 0.x) or an ``xarray.DataTree`` (1.x).

    Raises:
        ValueError: a count below 1, or a guide that leaves a latent to enumeration.

    Source: ArviZ, a unified library for exploratory analysis of Bayesian models in Python (Kumar, Carroll,
    Hartikainen & Martin, 2019).

    How to read it: ``az.summary(data)``, ``az.plot_khat(data.sample_stats.k_hat)``. The log-likelihood is
    that of x given z, not the evidence, so leave-one-out scores from it are only as good as k-hat says.

    Example:
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.guides import ExactPosterior
        >>> model = ProbabilisticPCA(5, latent=2)
        >>> data = to_inference_data(model, ExactPosterior(model), torch.zeros(3, 5), draws=10)
        >>> dict(data.posterior["z"].sizes)
        {'chain': 4, 'draw': 10, 'row': 3, 'z_dim': 2}
    """
    x = as_rows(x, model, guide)
    whole_numbers(chains=chains, draws=draws)
    count = chains * draws
    layout = _layout(model, guide, x, kwargs)
    values = posterior_draws(guide, x, model=model, num_particles=count, seed=seed, **kwargs)
    predicted = the_observed(replicate(model, values, x, seed=seed + 1, **kwargs), x)
    log_weights, log_likelihood = _weigh(model, guide, values, x, kwargs, layout)
    prior = [simulate(model, x, seed=seed + 2 + number, **kwargs) for number in range(count)]
    prior_values = _stacked([each.latents for each in prior], values)
    simulated = torch.stack([the_observed(p, x) for p in prior])

    def drawn(tensor: Tensor, *dims: str) -> tuple[tuple[str, ...], NDArray[Any]]:
        array = _numpy(tensor)
        return ("chain", "draw", *dims), array.reshape(chains, draws, *array.shape[1:])

    def latents(values: Values) -> dict[str, Any]:
        found = {}
        for name, value in values.items():
            rows_first = value.movedim(rows_axis(layout), 1)
            inner = [f"{name}_dim{'' if i == 0 else f'_{i}'}" for i in range(rows_first.dim() - 2)]
            found[name] = drawn(rows_first, "row", *inner)
        return found

    dims = ("row", *(f"feature{'' if i == 0 else f'_{i}'}" for i in range(x.dim() - 1)))
    observed = {"x": (dims, _numpy(x))}
    groups = {
        "posterior": latents(values),
        "posterior_predictive": {"x": drawn(predicted, *dims)},
        "log_likelihood": {"x": drawn(log_likelihood, "row")},
        "sample_stats": {
            "log_weights": drawn(log_weights, "row"),
            "k_hat": (("row",), _numpy(k_hat(log_weights))),
        },
        "prior": latents(prior_values),
        "prior_predictive": {"x": drawn(simulated, *dims)},
        "observed_data": observed,
    }
    return inference_data(groups, coords=coords, attributes=_provenance(model, guide))


def _layout(model: Program, guide: Program, x: Tensor, kwargs: dict[str, Any]) -> Layout:
    """Where the datapoints are, with categories drawn like all else."""
    layout = find_layout(model, guide, (x,), kwargs)
    with torch.no_grad(), torch.random.fork_rng():
        # Later the two run apart; together they are refused where there is no weight.
        run_particles(model, guide, (x,), kwargs, num_particles=1, layout=layout)
    return replace(layout, enumerated=False)


def _stacked(draws: list[Values], like: Values) -> Values:
    """Single draws side by side; each leaves out the dimensions of plates that its site is not in."""
    return {
        name: torch.stack([each[name] for each in draws]).reshape(value.shape)
        for name, value in like.items()
        if name in draws[0]  # a guide may draw what its latents are made of
    }


def _provenance(model: Program, guide: Program) -> dict[str, str]:
    return {
        "inference_library": "pyrovae",
        "inference_library_version": pyrovae.__version__,
        "model": type(model).__name__,
        "guide": type(guide).__name__,
    }


@torch.no_grad()
def _weigh(
    model: Program,
    guide: Program,
    values: Values,
    x: Tensor,
    kwargs: dict[str, Any],
    layout: Layout,
) -> tuple[Tensor, Tensor]:
    """Log-weights of draws, and log p(x | z) there: (K, B) each."""
    # What a program draws beside its sites, such as dropout, is drawn from a copy of the random state.
    with torch.random.fork_rng(), own_parameters():
        in_guide = density(guide, values, (x,), kwargs, layout=layout).latent
        in_model = density(model, values, (x,), kwargs, layout=layout)
    return in_model.joint - in_guide, in_model.observed


def _numpy(tensor: Tensor) -> NDArray[np.generic]:
    # NumPy has no bfloat16.
    known = tensor.float() if tensor.dtype is torch.bfloat16 else tensor
    array: NDArray[np.generic] = known.detach().cpu().numpy()
    return array
