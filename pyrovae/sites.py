"""Reading a trace: which plate holds the datapoints, and what a site contributes to one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.programs import Program, latent_sites, own_parameters

Site = Any  # Pyro's Message: a TypedDict whose fields are all optional


@dataclass(frozen=True)
class Layout:
    """Where a pair of programs keeps its datapoints.

    Attributes:
        plate: the name of the plate over datapoints.
        dim: its dimension, counted from the right (negative).
        nesting: how many dimensions plates take; particles come left of them.
        enumerated: whether a discrete site is to be enumerated.
    """

    plate: str
    dim: int
    nesting: int
    enumerated: bool

    @property
    def particle_dim(self) -> int:
        """The dimension of the particles: the one left of all plates."""
        return -self.nesting - 1

    def per_datapoint(self, log_prob: Tensor) -> Tensor:
        """Sum a site's log-probability over inner plates: (..., K or 1, B)."""
        missing = self.nesting + 1 - log_prob.dim()
        if missing > 0:
            log_prob = log_prob.reshape((1,) * missing + log_prob.shape)
        if self.nesting == 1:
            return log_prob
        return log_prob.sum([d for d in range(-self.nesting, 0) if d != self.dim])


def sample_sites(trace: poutine.Trace) -> dict[str, Site]:
    """Return the sample sites of a trace by name, without those that draw a subsample."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not site_is_subsample(site)
    }


def frame_of(site: Site, plate: str) -> Any | None:
    """Return the frame of ``plate`` that encloses a site, or None."""
    for frame in site["cond_indep_stack"]:
        if frame.name == plate:
            return frame
    return None


def frame_scale(frame: Any) -> float:
    """Return N / B of a plate's frame; 1 where it is not subsampled."""
    return 1.0 if frame.full_size is None else frame.full_size / frame.size


def log_prob_of(name: str, site: Site, *, plate: str | None, linear: bool) -> Tensor:
    """Return the masked log-probability of a site, free of the scale of ``plate``.

    Any other scale (``poutine.scale``, a subsampled plate inside a datapoint) multiplies it where the
    bound is linear in the log-weights, and is refused elsewhere: under an exponential it would turn a
    weight into a power of a weight.

    Raises:
        ValueError: a scale that a bound of several particles cannot take.
    """
    log_prob: Tensor = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    if site["mask"] is not None:
        log_prob = scale_and_mask(log_prob, mask=site["mask"])
    scale = site["scale"]
    if plate is not None:
        frame = frame_of(site, plate)
        scale = scale / frame_scale(frame)
    if not isinstance(scale, Tensor) and abs(scale - 1.0) < 1e-9:
        return log_prob
    if linear:
        return log_prob * scale
    raise ValueError(
        f"the site {name!r} has a scale of {float(scale):g} inside its datapoint (from poutine.scale or "
        "from a subsampled inner plate), and a log-weight with a scale in it is no log-weight: take the "
        "scale away, use the whole inner plate, or use objectives.ELBO with num_particles=1, where a "
        "scale weighs a term of the bound"
    )


def find_layout(
    model: Program,
    guide: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    plate: str | None = None,
    nesting: int | None = None,
) -> Layout:
    """Run both programs once, without particles, and see where their datapoints are.

    The plate over datapoints is the one named ``plate`` if given, else the one named ``"data"``, else the
    outermost plate that encloses all observed sites.

    Args:
        model: p(x, z), a Pyro program.
        guide: q(z | x), a Pyro program.
        args: positional arguments of both.
        kwargs: keyword arguments of both.
        plate: the name of the plate over datapoints, if it is not to be guessed.
        nesting: ``max_plate_nesting``, if it is more than this run shows.

    Raises:
        ValueError: there is no such plate, or ``nesting`` is too small.
    """
    with torch.no_grad(), torch.random.fork_rng(), own_parameters(model, guide), poutine.block():
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(
            *args, **kwargs
        )
    sites = [*sample_sites(model_trace).values(), *sample_sites(guide_trace).values()]
    frames = {
        frame.name: frame
        for site in sites
        for frame in site["cond_indep_stack"]
        if frame.vectorized
    }
    needed = max((-frame.dim for frame in frames.values()), default=0)
    if nesting is not None and nesting < needed:
        raise ValueError(
            f"max_plate_nesting is {nesting}, but the plates of these programs take {needed} dimensions "
            f"({', '.join(sorted(frames))}): set max_plate_nesting={needed} or leave it out"
        )
    name = _data_plate(sites, frames, plate)
    drawn = latent_sites(guide_trace)
    enumerated = any(
        site["infer"].get("enumerate") == "parallel"
        for site in [
            *drawn.values(),
            *(site for key, site in latent_sites(model_trace).items() if key not in drawn),
        ]
    )
    return Layout(name, frames[name].dim, needed if nesting is None else nesting, enumerated)


def _data_plate(sites: list[Site], frames: dict[str, Any], plate: str | None) -> str:
    for name in (plate, "data"):
        if name in frames:
            return str(name)
    observed = [site for site in sites if site["is_observed"]] or sites
    enclosing = [
        frame.name
        for frame in (observed[0]["cond_indep_stack"] if observed else ())
        if frame.vectorized and all(frame_of(site, frame.name) for site in observed)
    ]
    if plate is None and enclosing:
        return str(enclosing[0])
    wanted = f"plate {plate!r}" if plate else "plate that encloses all observed sites"
    raise ValueError(
        f"these programs have no vectorised {wanted} (their plates: {', '.join(sorted(frames)) or 'none'}),"
        " so there is no weight per datapoint: put the datapoints in "
        "`with pyro.plate('data', len(x), dim=-1):`"
    )
