"""What a Pyro program of this package looks like, and a check that two of them fit together.

A model or a guide is any callable that makes Pyro statements. Those of this package are
`pyro.nn.PyroModule`s called as ``program(x, index=None, size=None)``: ``x`` (B, D) is the batch,
``index`` (B,) the row number of each of its datapoints in the data set, ``size`` the number N of rows
there. With ``index`` and ``size`` the plate is a subsample of N, as Pyro means it: log-probabilities
inside count N / B times.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyrovae.parameters.own import own_parameters as own_parameters
from pyrovae.parameters.search import modules_of as modules_of

Program = Callable[..., Any]


@runtime_checkable
class ExactModel(Protocol):
    """A model whose evidence and posterior are known in closed form."""

    latent: int

    def exact_log_evidence(self, x: Tensor) -> Tensor:
        """Log p(x) of each row of ``x`` (B, D): shape (B,), in nats."""
        ...

    def posterior(self, x: Tensor) -> pyro.distributions.Distribution:
        """The exact p(z | x), batch shape (B,)."""
        ...


@runtime_checkable
class GenerativeModel(Protocol):
    """A model that can say what x looks like given z."""

    features: int
    latent: int

    def prior(self) -> pyro.distributions.Distribution:
        """p(z), batch shape ()."""
        ...

    def decode(self, z: Tensor) -> pyro.distributions.Distribution:
        """p(x | z) for ``z`` (..., L) (or (...,) for a category): event shape (D,)."""
        ...


@runtime_checkable
class RowGuide(Protocol):
    """A guide with parameters for each row, which can be made anew for other rows."""

    def for_rows(self, size: int) -> nn.Module:
        """Return an unfitted guide of the same kind for ``size`` rows."""
        ...


def data_plate(batch_size: int, index: Tensor | None = None, size: int | None = None) -> pyro.plate:
    """Return the one plate of a program of this package, named ``"data"``, at dim -1.

    Args:
        batch_size: B, the number of datapoints in the batch.
        index: (B,) their row numbers in the data set, or None.
        size: N, the number of rows in the data set; None means the batch is all there is.

    Returns:
        A ``pyro.plate`` that scales log-probabilities by ``size / batch_size``.

    Example:
        >>> with data_plate(2, size=10) as rows:
        ...     print(rows.tolist())
        [0, 1]
    """
    if size is None:
        return pyro.plate("data", batch_size, dim=-1)
    rows = torch.arange(batch_size) if index is None else index
    return pyro.plate("data", size, subsample=rows, dim=-1)


def table_rows(table: Tensor, size: int, x: Tensor, index: Tensor | None) -> Tensor:
    """The rows ``index`` of a guide's table for ``size`` datapoints; all of them without ``index``.

    Raises:
        ValueError: a batch ``x`` that is not the whole data set and comes without ``index``.
    """
    if index is None and len(x) != size:
        raise ValueError(
            f"the table of this guide has {size} rows but the batch has {len(x)}: pass the rows' "
            "numbers as index=, or fit rows that were not in training with pyrovae.refit"
        )
    return table if index is None else table[index]


def traces_of(
    model: Program, guide: Program | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[poutine.Trace, poutine.Trace]:
    """Traces of the model and of the guide that it is replayed against; the random state is left alone.

    Without a guide the model draws every latent itself.
    """
    with torch.no_grad(), torch.random.fork_rng(), own_parameters(), poutine.block():
        guide_trace = poutine.Trace()
        if guide is not None:
            guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        replayed = poutine.replay(model, trace=guide_trace)
        return poutine.trace(replayed).get_trace(*args, **kwargs), guide_trace


def latent_sites(trace: poutine.Trace) -> dict[str, Any]:
    """Return the unobserved sample sites of a trace by name, without those that draw a subsample."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site)
    }


def first_parameter(*programs: Program, otherwise: Tensor | None = None) -> Tensor:
    """What says where the programs are and how precise: their first floating parameter.

    ``otherwise`` is returned if they have none; an empty tensor by default.
    """
    for module in modules_of(*programs):
        for parameter in module.parameters():
            if parameter.is_floating_point():
                return parameter.detach()
    return torch.empty(0) if otherwise is None else otherwise


def check(model: Program, guide: Program, *args: Any, **kwargs: Any) -> None:
    """Run model and guide once and refuse them, in a sentence, if they do not fit together.

    The draws are thrown away, and the random state is left as it was found.

    Args:
        model: a Pyro program p(x, z).
        guide: a Pyro program q(z | x).
        *args: what both are called with.
        **kwargs: what both are called with.

    Raises:
        ValueError: a latent site that the guide misses, one it has too many, a site whose shape or plate
            differs between the two, or a log-probability that is not a number.

    Example:
        >>> import pyro.distributions as dist
        >>> def model():
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        >>> def guide():
        ...     pass
        >>> check(model, guide)
        Traceback (most recent call last):
        ...
        ValueError: the guide misses the latent site 'z' of the model: add pyro.sample('z', ...) to it, or \
mark the model's site with infer={'enumerate': 'parallel'} to have it summed out
    """
    with torch.no_grad(), torch.random.fork_rng(), own_parameters():
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        try:
            model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(
                *args, **kwargs
            )
        except (ValueError, RuntimeError, IndexError):
            # Values of a wrong shape fail somewhere in the model; the sites themselves tell where from.
            alone = poutine.trace(model).get_trace(*args, **kwargs)
            _check_latents(latent_sites(alone), latent_sites(guide_trace))
            raise
    _check_latents(latent_sites(model_trace), latent_sites(guide_trace))
    _check_finite(model_trace)


def _check_latents(in_model: dict[str, Any], in_guide: dict[str, Any]) -> None:
    for name, site in in_model.items():
        if name not in in_guide and site["infer"].get("enumerate") != "parallel":
            raise ValueError(
                f"the guide misses the latent site {name!r} of the model: add "
                f"pyro.sample({name!r}, ...) to it, or mark the model's site with "
                "infer={'enumerate': 'parallel'} to have it summed out"
            )
    for name, site in in_guide.items():
        if name not in in_model:
            if site["infer"].get("is_auxiliary"):
                continue
            known = ", ".join(map(repr, in_model)) or "none"
            raise ValueError(
                f"the guide has a site {name!r} that the model has not (the model's latent sites: "
                f"{known}): rename it, or mark it infer={{'is_auxiliary': True}}"
            )
        _check_site(name, in_model[name], site)


def _plates(site: Any) -> dict[str, int]:
    return {frame.name: frame.size for frame in site["cond_indep_stack"] if frame.vectorized}


def _check_site(name: str, in_model: Any, in_guide: Any) -> None:
    here, there = _plates(in_model), _plates(in_guide)
    if here != there:
        raise ValueError(
            f"the latent site {name!r} is in plates {here} of the model but {there} of the guide: "
            "use the same plates, with the same names and sizes, in both"
        )
    expected = in_model["fn"].batch_shape + in_model["fn"].event_shape
    came = in_guide["fn"].batch_shape + in_guide["fn"].event_shape
    if tuple(expected) != tuple(came):
        raise ValueError(
            f"the latent site {name!r} has shape {tuple(expected)} in the model but {tuple(came)} in "
            "the guide: give both the same number of latent dimensions"
        )


def _check_finite(trace: poutine.Trace) -> None:
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and not site_is_subsample(site):
            log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
            if site["mask"] is not None and site["mask"] is not True:
                log_prob = torch.where(torch.as_tensor(site["mask"]), log_prob, 0.0)
            if math.isnan(log_prob.sum().item()):
                raise ValueError(
                    f"the log-probability of site {name!r} is not a number: look for NaN in the data "
                    "(mask missing values) or in the parameters"
                )
