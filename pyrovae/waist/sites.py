"""Reading a trace: which plate holds the datapoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.programs import Program, latent_sites, own_parameters, traces_of

Site = Any  # Pyro's Message: a TypedDict whose fields are all optional

PARTICLES = (
    "num_particles_of_pyrovae"  # the plate of the particles; no plate of a user has this name
)


@dataclass(frozen=True)
class Layout:
    """Where a pair of programs keeps its datapoints.

    Attributes:
        plate: the name of the plate over datapoints; None if the programs as a whole are one datapoint.
        dims: its dimension and those of the plates around it, from left to right (negative).
        plates: the names of all these plates.
        nesting: how many dimensions plates take; particles come left of them.
        enumerated: whether a discrete site is to be enumerated.
    """

    plate: str | None
    dims: tuple[int, ...]
    plates: tuple[str, ...]
    nesting: int
    enumerated: bool

    @property
    def dim(self) -> int:
        """The dimension of the innermost plate of the datapoints."""
        return self.dims[-1]

    @property
    def particle_dim(self) -> int:
        """The dimension of the particles: the one left of all plates."""
        return -self.nesting - 1

    def encloses(self, site: Site) -> bool:
        """Whether a site is inside the data plate, so that every datapoint has its own."""
        return self.plate is None or frame_of(site, self.plate) is not None

    def per_datapoint(self, log_prob: Tensor) -> Tensor:
        """Sum a site's log-probability over inner plates: (..., K or 1, B)."""
        missing = self.nesting + 1 - log_prob.dim()
        if missing > 0:
            log_prob = log_prob.reshape((1,) * missing + log_prob.shape)
        inner = [dim for dim in range(-self.nesting, 0) if dim not in self.dims]
        if inner:
            log_prob = log_prob.sum(inner)
        if not self.dims:
            return log_prob.unsqueeze(-1)
        return log_prob.flatten(-len(self.dims)) if len(self.dims) > 1 else log_prob

    def scale(self, site: Site) -> float:
        """N / B of the plates that hold the datapoints."""
        return frames_scale(site, self.plates)

    def batch(self, site: Site) -> int:
        """B: how many datapoints there are in a site of the data plate."""
        return math.prod(f.size for f in site["cond_indep_stack"] if f.name in self.plates)


def sample_sites(trace: poutine.Trace) -> dict[str, Site]:
    """Return the sample sites of a trace by name, less those that draw a subsample or name a value."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample"
        and not site_is_subsample(site)
        and not site["infer"].get("_deterministic")
    }


def sites_of(program: Program, *args: Any, **kwargs: Any) -> dict[str, Site]:
    """Run a program once for its sample sites; the random state is left as it was."""
    with torch.no_grad(), torch.random.fork_rng(), own_parameters(), poutine.block():
        return sample_sites(poutine.trace(program).get_trace(*args, **kwargs))


def frame_of(site: Site, plate: str | None) -> Any | None:
    """Return the frame of ``plate`` that encloses a site, or None."""
    for frame in site["cond_indep_stack"]:
        if frame.name == plate:
            return frame
    return None


def frames_scale(site: Site, plates: tuple[str, ...]) -> float:
    """N / B of those of some plates that enclose a site; 1 where they are not subsampled."""
    return math.prod(
        frame.full_size / frame.size
        for frame in site["cond_indep_stack"]
        if frame.name in plates and frame.full_size is not None
    )


def find_layout(
    model: Program,
    guide: Program | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    plate: str | None = None,
    nesting: int | None = None,
    whole: bool = False,
) -> Layout:
    """Run both programs once, without particles, and see where their datapoints are.

    The plate over datapoints is the one named ``plate`` if given, else the one named ``"data"``, else the
    outermost plate that encloses all observed sites. Plates around it multiply the datapoints.

    Args:
        model: p(x, z), a Pyro program.
        guide: q(z | x), a Pyro program; None where the model alone is run.
        args: positional arguments of both.
        kwargs: keyword arguments of both.
        plate: the name of the plate over datapoints, if it is not to be guessed.
        nesting: ``max_plate_nesting``, if it is more than this run shows.
        whole: take programs that have no such plate as one datapoint, rather than refuse them.

    Raises:
        ValueError: there is no such plate, ``nesting`` is too small, or a site is enumerated by draws.
    """
    model_trace, guide_trace = traces_of(model, guide, args, kwargs)
    sites = [*sample_sites(model_trace).values(), *sample_sites(guide_trace).values()]
    frames = {f.name: f for site in sites for f in site["cond_indep_stack"] if f.vectorized}
    needed = max((-frame.dim for frame in frames.values()), default=0)
    if nesting is not None and nesting < needed:
        raise ValueError(
            f"max_plate_nesting is {nesting}, but the plates of these programs take {needed} dimensions "
            f"({', '.join(sorted(frames))}): set max_plate_nesting={needed} or leave it out"
        )
    _check_listed(sites)
    name = _data_plate(sites, frames, plate, whole)
    around = _around(sites, name)
    _check_dims(sites, around)
    drawn = latent_sites(guide_trace)
    latent = [site for key, site in latent_sites(model_trace).items() if key not in drawn]
    enumerated = any(s["infer"].get("enumerate") == "parallel" for s in [*drawn.values(), *latent])
    return Layout(
        plate=name,
        dims=tuple(sorted(frames[each].dim for each in around)),
        plates=tuple(around),
        nesting=needed if nesting is None else nesting,
        enumerated=enumerated,
    )


def _around(sites: list[Site], plate: str | None) -> list[str]:
    """The plate and those that enclose it at every site, from the outside in."""
    if plate is None:
        return []
    stacks = []
    for site in sites:
        names = [frame.name for frame in site["cond_indep_stack"] if frame.vectorized]
        if plate in names:
            stacks.append(names[: names.index(plate) + 1])
    return [name for name in stacks[0] if all(name in stack for stack in stacks)]


def _check_listed(sites: list[Site]) -> None:
    """Refuse enumeration by draws: a list with some values drawn twice and others left out."""
    for site in sites:
        infer = site["infer"]
        if infer.get("enumerate") == "parallel" and infer.get("num_samples") is not None:
            raise ValueError(
                f"the site {site['name']!r} is to be enumerated by {infer['num_samples']} draws of it: leave "
                "num_samples out of its infer={'enumerate': 'parallel'}, so that all of its values are "
                "listed, or leave out both, and set num_particles on the objective"
            )


def _check_dims(sites: list[Site], around: list[str]) -> None:
    """Refuse datapoints that lie along one dimension at one site and along another elsewhere."""
    for name in around:
        dims = {frame.dim for site in sites if (frame := frame_of(site, name)) is not None}
        if len(dims) > 1:
            raise ValueError(
                f"the plate {name!r} takes dim {' and '.join(map(str, sorted(dims)))} at different sites, so "
                "that its datapoints do not meet: give it the same dim= in model and guide"
            )


def _data_plate(
    sites: list[Site], frames: dict[str, Any], plate: str | None, whole: bool
) -> str | None:
    for name in ("data",) if plate is None else (plate,):
        if name in frames:
            return name
    observed = [site for site in sites if site["is_observed"]] or sites
    enclosing = [
        frame.name
        for frame in (observed[0]["cond_indep_stack"] if observed else ())
        if frame.vectorized and all(frame_of(site, frame.name) for site in observed)
    ]
    if plate is None and enclosing:
        return str(enclosing[0])
    if plate is None and whole:
        return None
    wanted = f"plate {plate!r}" if plate else "plate that encloses all observed sites"
    raise ValueError(
        f"these programs have no vectorised {wanted} (their plates: {', '.join(sorted(frames)) or 'none'}),"
        " so there is no weight per datapoint: put the datapoints in "
        "`with pyro.plate('data', len(x), dim=-1):`"
    )
