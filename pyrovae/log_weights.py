r"""The waist: one run of a model and a guide becomes one tensor of log-weights.

.. math:: \log w_{kb} = \log p(x_b, z_{kb}) - \log q(z_{kb} \mid x_b), \qquad z_{kb} \sim q(z \mid x_b)

Everything else in the package is a function of this (K, B) tensor. It holds for any Pyro program with
a plate over datapoints: the plate's scale N / B is taken out, masks are respected, discrete sites that
are enumerated are summed out, and inner plates are summed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.broadcast_messenger import BroadcastMessenger
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovae.enumeration import enumerated_in_model, sum_out
from pyrovae.programs import Program, own_parameters
from pyrovae.sites import (
    Layout,
    Site,
    find_layout,
    frame_of,
    frame_scale,
    log_prob_of,
    sample_sites,
)


@dataclass
class Draw:
    """One reparameterised draw of a guide: the value, and the leaf put in its place downstream."""

    value: Tensor
    leaf: Tensor


@dataclass
class Particles:
    """What one run of a model and a guide leaves behind. All tensors are in nats.

    Attributes:
        log_joint: (..., K, B), log p(x, z) with the model's enumerated sites summed out. The leading
            dimensions are those of sites that the guide enumerates; there are none without them.
        log_guide: (..., K, B), log q(z | x) of the sites that the guide draws.
        log_enumerated: (..., K, B), log q(y | x) of the sites that the guide enumerates, or None.
        log_score: (..., K, B), the part of ``log_guide`` whose draws carry no gradient, or None.
        log_global: scalar, log p - log q of all sites outside the data plate (0 without such sites).
        log_score_global: scalar, the part of log q there whose draws carry no gradient, or None.
        scale: N / B, the scale of the data plate.
        draws: the guide's reparameterised draws in the order they were made, if leaves were asked for.
        undrawn: names of the guide's sites whose draws carry no gradient.
        outside: names of the sites outside the data plate.
    """

    log_joint: Tensor
    log_guide: Tensor
    log_enumerated: Tensor | None = None
    log_score: Tensor | None = None
    log_global: Tensor | float = 0.0
    log_score_global: Tensor | None = None
    scale: float | Tensor = 1.0
    draws: dict[str, Draw] = field(default_factory=dict)
    undrawn: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def log_weights(self) -> Tensor:
        """(K, B): log p - log q, with every enumerated site summed out."""
        log_weights = self.log_joint - self.log_guide
        if self.log_enumerated is None:
            return log_weights
        return log_weights.flatten(end_dim=-3).logsumexp(0)


class _ParticlePlate(Messenger):
    """Draws K particles of every site inside the data plate, at the dim left of all plates.

    A site outside the plate is drawn once: that is what makes a bound with global latents a bound.
    """

    def __init__(self, num_particles: int, layout: Layout) -> None:
        super().__init__()
        self.plate = layout.plate
        self.frame = CondIndepStackFrame("particles", layout.particle_dim, num_particles, 0)

    def _pyro_sample(self, msg: Any) -> None:
        if any(frame.name == self.plate for frame in msg["cond_indep_stack"]):
            msg["cond_indep_stack"] = (self.frame,) + msg["cond_indep_stack"]
            BroadcastMessenger._pyro_sample(msg)


class _Leaves(Messenger):
    """Hands a leaf downstream in place of every reparameterised draw in the plate, and keeps both.

    With ``detach`` the draws carry no gradient at all, and nothing is kept.
    """

    def __init__(self, plate: str, *, detach: bool) -> None:
        super().__init__()
        self.plate = plate
        self.detach = detach
        self.draws: dict[str, Draw] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        value = msg["value"]
        if msg["is_observed"] or frame_of(msg, self.plate) is None:
            return
        if self.detach:
            msg["value"] = value.detach()
        elif value.requires_grad:
            leaf = value.detach().requires_grad_()
            self.draws[msg["name"]] = Draw(value, leaf)
            msg["value"] = leaf


def run_particles(
    model: Program,
    guide: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    num_particles: int,
    layout: Layout,
    linear: bool = False,
    draws: str = "graph",
) -> Particles:
    """Run the guide, replay the model against it, and reduce both to per-datapoint terms.

    Args:
        model: p(x, z), a Pyro program.
        guide: q(z | x), a Pyro program.
        args: positional arguments of both.
        kwargs: keyword arguments of both.
        num_particles: K.
        layout: which plate holds the datapoints and how deep plates are nested, from `find_layout`.
        linear: whether scales inside a datapoint (``poutine.scale``, an inner subsampled plate) multiply
            its log-probabilities. Only a bound that is linear in the log-weights may say so.
        draws: ``"graph"`` leaves the draws attached to the guide's parameters; ``"leaves"`` replaces
            them by leaves, so that gradients through the draw and through the density can be told
            apart; ``"values"`` detaches them.

    Returns:
        The `Particles`.

    Raises:
        ValueError: the programs have no per-datapoint terms, for the reason the message gives.
    """
    leaves = _Leaves(layout.plate, detach=draws == "values")
    guide_run, model_run = guide, model
    if layout.enumerated:
        guide_run = EnumMessenger(layout.particle_dim - 1)(guide)
        model_run = EnumMessenger()(model)
    with own_parameters(model, guide):
        with ExitStack() as handlers:
            if draws != "graph":
                handlers.enter_context(leaves)
            if num_particles > 1:
                handlers.enter_context(_ParticlePlate(num_particles, layout))
            guide_trace = poutine.trace(guide_run).get_trace(*args, **kwargs)
        model_trace = poutine.trace(poutine.replay(model_run, trace=guide_trace)).get_trace(
            *args, **kwargs
        )
    return _reduce(model_trace, guide_trace, num_particles, layout, linear, leaves)


def stack_particles(
    model: Program,
    guide: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    num_particles: int,
    layout: Layout,
    **settings: Any,
) -> Particles:
    """Run K times with one particle each: what `run_particles` does in one run, for programs that cannot.

    What lies outside the data plate, the choice of the rows of a subsample included, is drawn once.
    """
    with _DrawnOnce(layout.plate):
        runs = [
            run_particles(model, guide, args, kwargs, num_particles=1, layout=layout, **settings)
            for _ in range(num_particles)
        ]

    def cat(name: str) -> Any:
        terms = [getattr(run, name) for run in runs]
        return None if terms[0] is None else torch.cat(terms, dim=-2)

    first = runs[0]
    return replace(
        first,
        **{name: cat(name) for name in ("log_joint", "log_guide", "log_enumerated", "log_score")},
        draws={
            f"{name}/{k}": draw for k, run in enumerate(runs) for name, draw in run.draws.items()
        },
    )


class _DrawnOnce(Messenger):
    """Keeps the first value of every site outside the data plate, over several runs."""

    def __init__(self, plate: str) -> None:
        super().__init__()
        self.plate = plate
        self.values: dict[str, Any] = {}

    def _outside(self, msg: Any) -> bool:
        return not msg["is_observed"] and frame_of(msg, self.plate) is None

    def _pyro_sample(self, msg: Any) -> None:
        if self._outside(msg) and msg["value"] is None and msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]

    def _pyro_post_sample(self, msg: Any) -> None:
        if self._outside(msg):
            self.values.setdefault(msg["name"], msg["value"])


def _reduce(
    model_trace: poutine.Trace,
    guide_trace: poutine.Trace,
    num_particles: int,
    layout: Layout,
    linear: bool,
    leaves: _Leaves,
) -> Particles:
    in_model, in_guide = sample_sites(model_trace), sample_sites(guide_trace)
    enumerated = enumerated_in_model(in_model, in_guide)
    frame = _check_structure(in_model, in_guide, enumerated, layout)
    model_local, model_global = _split(in_model, layout.plate, linear)
    guide_local, guide_global = _split(in_guide, layout.plate, linear)
    undrawn = {name for name, site in in_guide.items() if leaves.detach or not _has_path(site)}
    by_choice = {name for name, site in in_guide.items() if "_enumerate_dim" in site["infer"]}

    def total(log_probs: dict[str, Tensor], names: Iterable[str]) -> Any:
        terms = [layout.per_datapoint(log_probs[name]) for name in names if name in log_probs]
        return sum(terms[1:], terms[0]) if terms else None

    if enumerated:
        log_joint = sum_out(model_local, in_model, enumerated, layout)
    else:
        log_joint = total(model_local, model_local)
    log_guide = total(guide_local, guide_local.keys() - by_choice)
    shape = (
        log_joint.shape
        if log_guide is None
        else torch.broadcast_shapes(log_joint.shape, log_guide.shape)
    )
    shape = torch.broadcast_shapes(shape, (num_particles, frame.size))
    log_global = sum(term.sum() for term in model_global.values())
    score_global = [term.sum() for name, term in guide_global.items() if name in undrawn]
    return Particles(
        log_joint=log_joint.expand(shape),
        log_guide=log_joint.new_zeros(shape) if log_guide is None else log_guide.expand(shape),
        log_enumerated=total(guide_local, guide_local.keys() & by_choice),
        log_score=total(guide_local, (guide_local.keys() & undrawn) - by_choice),
        log_global=log_global - sum(term.sum() for term in guide_global.values()),
        log_score_global=sum(score_global[1:], score_global[0]) if score_global else None,
        scale=frame_scale(frame),
        draws=leaves.draws,
        undrawn=tuple(sorted(undrawn)),
        outside=tuple(sorted(model_global.keys() | guide_global.keys())),
    )


def _has_path(site: Site) -> bool:
    return bool(getattr(site["fn"], "has_rsample", False))


def _split(
    sites: dict[str, Site], plate: str, linear: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Log-probabilities of the sites inside the data plate, and of those outside it."""
    inside, outside = {}, {}
    for name, site in sites.items():
        if frame_of(site, plate) is not None:
            inside[name] = log_prob_of(name, site, plate=plate, linear=linear)
        else:
            outside[name] = log_prob_of(name, site, plate=None, linear=True)
    return inside, outside


def _check_structure(
    in_model: dict[str, Site], in_guide: dict[str, Site], enumerated: list[Site], layout: Layout
) -> Any:
    """Refuse what would be silently wrong, and return the frame of the data plate."""
    frames = []
    for name, site in [*in_model.items(), *in_guide.items()]:
        frame = frame_of(site, layout.plate)
        if frame is not None:
            frames.append(frame)
        for other in site["cond_indep_stack"]:
            if other.vectorized and other.name != "particles" and -other.dim > layout.nesting:
                raise ValueError(
                    f"the plate {other.name!r} at site {name!r} takes dim {other.dim}, which belongs to "
                    f"the particles: set max_plate_nesting to at least {-other.dim}"
                )
        if frame is None and "_enumerate_dim" in site["infer"]:
            raise ValueError(
                f"the site {name!r} is enumerated outside the plate {layout.plate!r}, which ties all "
                "datapoints together: use pyro.infer.TraceEnum_ELBO for this model"
            )
    if not frames:
        raise ValueError(
            f"no site is inside the plate {layout.plate!r} any more: the structure of a program must not "
            "change between calls; make a new objective for another program"
        )
    enumerated_names = {site["name"] for site in enumerated}
    for name, site in in_model.items():
        if not site["is_observed"] and name not in in_guide and name not in enumerated_names:
            raise ValueError(
                f"the guide misses the latent site {name!r} of the model: add pyro.sample({name!r}, ...) "
                "to it, or mark the model's site with infer={'enumerate': 'parallel'}"
            )
    for name, site in in_guide.items():
        if name not in in_model and not site["infer"].get("is_auxiliary"):
            raise ValueError(
                f"the guide has a site {name!r} that the model has not: rename it, or mark it "
                "infer={'is_auxiliary': True}"
            )
        inner = [f.name for f in site["cond_indep_stack"] if f.vectorized and f.name != "particles"]
        if "_enumerate_dim" in site["infer"] and inner != [layout.plate]:
            raise ValueError(
                f"the guide enumerates the site {name!r} inside the plates {inner}: only sites directly "
                f"inside {layout.plate!r} can be enumerated in the guide; use pyro.infer.TraceEnum_ELBO"
            )
    return frames[0]


def log_weights(
    model: Program,
    guide: Program,
    *args: Any,
    num_particles: int = 1,
    max_plate_nesting: int | None = None,
    plate: str | None = None,
    **kwargs: Any,
) -> Tensor:
    r"""Draw K particles per datapoint from the guide and weigh each against the model.

    .. math:: \log w_{kb} = \log p(x_b, z_{kb}) - \log q(z_{kb} \mid x_b)

    Args:
        model: p(x, z), any Pyro program with a plate over datapoints.
        guide: q(z | x), any Pyro program with the same latent sites, in any order.
        *args: positional arguments of both programs.
        num_particles: K, the number of draws per datapoint.
        max_plate_nesting: how many dimensions plates take; found by running the programs once if None.
        plate: the name of the plate over datapoints; None takes the one named ``"data"``, or else the
            outermost plate that encloses all observed sites.
        **kwargs: keyword arguments of both programs.

    Returns:
        (K, B) tensor of log-weights in nats, free of the plate's scale N / B, with masks respected and
        enumerated sites summed out. Differentiable in the parameters of model and guide.

    Raises:
        ValueError: a datapoint has no weight of its own (a latent outside the plate, a scale inside a
            datapoint), or the two programs do not fit together.

    How to read it: its mean over K is the ELBO of each datapoint, its log-mean-exp the
    importance-weighted bound; a column that is constant says that the guide is the exact posterior.

    Example:
        >>> import torch, pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def posterior(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> x = torch.tensor([0.0, 1.0])
        >>> log_weights(model, posterior, x, num_particles=3).shape
        torch.Size([3, 2])
        >>> exact = dist.Normal(0.0, 2**0.5).log_prob(x)
        >>> torch.allclose(log_weights(model, posterior, x), exact)
        True
    """
    if num_particles < 1:
        raise ValueError(f"num_particles is {num_particles}: at least one particle is needed")
    layout = find_layout(model, guide, args, kwargs, plate=plate, nesting=max_plate_nesting)
    particles = run_particles(
        model, guide, args, kwargs, num_particles=num_particles, layout=layout
    )
    if particles.outside:
        raise ValueError(
            f"there is no weight per datapoint, because {', '.join(map(repr, particles.outside))} "
            f"lies outside the plate {layout.plate!r} and is shared by all datapoints: use an objective "
            "(objectives.ELBO, objectives.IWAE), which takes such sites out of the bound per datapoint"
        )
    return particles.log_weights
