"""Where `pyro.infer.RenyiELBO` is not the bound it is taken for, and what to use in its place."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from pyro.infer import ELBO, RenyiELBO
from torch import Tensor

from pyrovae.programs import Program, traces_of
from pyrovae.waist.sites import sample_sites


def problem(loss: ELBO, model: Program, guide: Program, *args: Any, **kwargs: Any) -> str | None:
    """Return a sentence that says why this loss is no bound on these programs; None if nothing is wrong.

    Stock `RenyiELBO` takes exponentials of log-probabilities that are already multiplied by the N / B of a
    subsampled plate or by ``poutine.scale``; sums over all datapoints before the exponential where a
    latent lies outside the plate; and gives draws without a gradient no gradient where alpha = 0.

    Args:
        loss: the objective.
        model: p(x, z), a Pyro program.
        guide: q(z | x), a Pyro program.
        *args: what both are called with.
        **kwargs: what both are called with.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", 100, subsample_size=2):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", 100, subsample_size=2):
        ...         pyro.sample("z", dist.Normal(0.0, 1.0))
        >>> print(problem(RenyiELBO(alpha=0.5, num_particles=2), model, guide, torch.zeros(2)))
        RenyiELBO(alpha=0.5) is no bound here: it exponentiates log-probabilities that are already \
multiplied by the scale 50 of site 'z'. Use pyrovae.objectives.Renyi(alpha=0.5, num_particles=2), which \
takes the scale out of the weights and puts it back after.
    """
    if not isinstance(loss, RenyiELBO):
        return None
    model_trace, guide_trace = traces_of(model, guide, args, kwargs)
    in_guide = sample_sites(guide_trace)
    sites = {**in_guide, **sample_sites(model_trace)}
    found = _reason(loss, sites, in_guide)
    if found is None:
        return None
    return (
        f"RenyiELBO(alpha={loss.alpha:g}) {found[0]}. Use pyrovae.objectives.Renyi(alpha={loss.alpha:g}, "
        f"num_particles={loss.num_particles}), which {found[1]}."
    )


def warn_if_no_bound(loss: ELBO, model: Program, guide: Program, *args: Any, **kwargs: Any) -> None:
    """Warn with the sentence of `problem`, if there is one; for whoever runs a loss for the first time."""
    found = problem(loss, model, guide, *args, **kwargs)
    if found is not None:
        warnings.warn(found, UserWarning, stacklevel=3)


def no_gradient(loss: ELBO) -> str:
    """Return a sentence that names what does the same as a loss without a differentiable one.

    Example:
        >>> import pyro
        >>> print(no_gradient(pyro.infer.TraceGraph_ELBO()))
        TraceGraph_ELBO computes no loss that can be differentiated; objectives of this package do, such as \
pyrovae.objectives.ELBO in place of TraceGraph_ELBO
    """
    name = "Renyi" if isinstance(loss, RenyiELBO) else "ELBO"
    given = type(loss).__name__
    return (
        f"{given} computes no loss that can be differentiated; objectives of this package do, such as "
        f"pyrovae.objectives.{name} in place of {given}"
    )


def _reason(
    loss: RenyiELBO, sites: dict[str, Any], in_guide: dict[str, Any]
) -> tuple[str, str] | None:
    """What is wrong, and what the objective of this package does instead."""
    scaled = {n: site["scale"] for n, site in sites.items() if not _is_one(site["scale"])}
    vectorized = {n: any(f.vectorized for f in s["cond_indep_stack"]) for n, s in sites.items()}
    if loss.num_particles > 1 and scaled:
        name, scale = next(iter(scaled.items()))
        size = f"{float(torch.as_tensor(scale).max()):g}"
        return (
            "is no bound here: it exponentiates log-probabilities that are already multiplied by the "
            f"scale {size} of site {name!r}",
            "takes the scale out of the weights and puts it back after",
        )
    outside = [name for name in sites if not vectorized[name]]
    if loss.num_particles > 1 and outside and any(vectorized.values()):
        return (
            f"is far looser than need be here: site {outside[0]!r} is shared by all datapoints, so that "
            "it takes one weight for all of them together",
            "takes shared sites out of the weights of each datapoint",
        )
    undrawn = [n for n, s in in_guide.items() if not getattr(s["fn"], "has_rsample", False)]
    if loss.alpha == 0 and undrawn:
        return (
            f"gives the draws of {undrawn[0]!r}, which carry no gradient, a gradient of exactly zero",
            "takes the score function there",
        )
    return None


def _is_one(scale: float | Tensor) -> bool:
    return bool(abs(torch.as_tensor(scale) - 1.0).max() < 1e-9)
