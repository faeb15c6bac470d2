r"""The waist: one run of a model and a guide becomes one tensor of log-weights.

.. math:: \log w_{kb} = \log p(x_b, z_{kb}) - \log q(z_{kb} \mid x_b), \qquad z_{kb} \sim q(z \mid x_b)

Everything else in the package is a function of this (K, B) tensor. It holds for any Pyro program with
a plate over datapoints: the plate's scale N / B is taken out, masks are respected, discrete sites that
are enumerated are summed out, and inner plates are summed over.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Literal

from pyro import poutine
from pyro.poutine.enum_messenger import EnumMessenger
from torch import Tensor

from pyrovae.programs import Program, own_parameters
from pyrovae.waist.handlers import Cut, DrawnOnce, ParticlePlate, through_port
from pyrovae.waist.particles import Detail, Particles, concatenate
from pyrovae.waist.reduction import reduce_traces
from pyrovae.waist.sites import Layout, find_layout

__all__ = ["Particles", "log_weights", "refuse_shared", "run_particles", "stack_particles"]

Draws = Literal["graph", "leaves", "ports", "values"]


def run_particles(
    model: Program,
    guide: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    num_particles: int,
    layout: Layout,
    linear: bool = False,
    draws: Draws = "graph",
    detail: Detail = "none",
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
            apart; ``"ports"`` does so too, but gives the model the draw itself where there is only one;
            ``"values"`` detaches them.
        detail: ``"none"``; or how to get each latent site's divergence from its prior: ``"sampled"``,
            ``"analytic"`` where it is known, or that ``"by_dimension"``.

    Returns:
        The `Particles`.

    Raises:
        ValueError: the programs have no per-datapoint terms, for the reason the message gives.
    """
    cut = Cut(layout, detach=draws == "values")
    # Always: a program may enumerate a site in one call and observe it in the next.
    guide_run = EnumMessenger(layout.particle_dim - 1)(guide)
    model_run = EnumMessenger()(model)
    with own_parameters():
        with ExitStack() as handlers:
            if draws != "graph":
                handlers.enter_context(cut)
            if num_particles > 1:
                handlers.enter_context(ParticlePlate(num_particles, layout))
            guide_trace = poutine.trace(guide_run).get_trace(*args, **kwargs)
        replayed = guide_trace
        if draws == "ports":
            replayed = through_port(guide_trace, cut.draws, layout)
        model_trace = poutine.trace(poutine.replay(model_run, trace=replayed)).get_trace(
            *args, **kwargs
        )
    return reduce_traces(
        model_trace,
        guide_trace,
        num_particles,
        layout,
        linear=linear,
        detached=cut.detach,
        draws=cut.draws,
        detail=detail,
    )


def stack_particles(
    model: Program,
    guide: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    num_particles: int,
    layout: Layout,
    draws: Draws = "graph",
    **settings: Any,
) -> Particles:
    """Run K times with one particle each: what `run_particles` does in one run, for programs that cannot.

    What lies outside the data plate, the choice of the rows of a subsample included, is drawn once.
    """
    with DrawnOnce(layout):
        runs = [
            run_particles(
                model,
                guide,
                args,
                kwargs,
                num_particles=1,
                layout=layout,
                draws="leaves" if draws == "ports" else draws,
                **settings,
            )
            for _ in range(num_particles)
        ]
    return concatenate(runs)


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
    refuse_shared(particles, layout)
    return particles.log_weights


def refuse_shared(particles: Particles, layout: Layout) -> None:
    """Refuse sites that all datapoints share, where each is to have a weight of its own.

    Raises:
        ValueError: there are some.
    """
    if particles.outside:
        raise ValueError(
            f"there is no weight per datapoint, because {', '.join(map(repr, particles.outside))} "
            f"lies outside the plate {layout.plate!r} and is shared by all datapoints: use an objective "
            "(objectives.ELBO, objectives.IWAE), which takes such sites out of the bound per datapoint"
        )
