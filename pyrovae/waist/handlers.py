"""Effect handlers: draws for K particles, cut from the guide, and kept over several runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyro.poutine.broadcast_messenger import BroadcastMessenger
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.waist.sites import PARTICLES, Layout
from pyrovae.waist.terms import is_point


@dataclass
class Draw:
    """One reparameterised draw of a guide: the value, and the leaf put in its place downstream.

    Attributes:
        value: the draw, attached to the guide's parameters and to the leaves of earlier draws.
        leaf: the same numbers, cut off.
        inside: whether it is inside the data plate.
        event_dim: how many dimensions on the right are those of one draw.
        point: whether it is made of earlier draws and of parameters, without noise of its own.
        ported: whether the model was given the value itself, by `through_port`.
        share: what the gradient that comes from the model is multiplied by at the port, (K, B).
    """

    value: Tensor
    leaf: Tensor
    inside: bool
    event_dim: int
    point: bool = False
    ported: bool = False
    share: Tensor | None = None


class ParticlePlate(Messenger):
    """Draws K particles of every site inside the data plate, at the dim left of all plates.

    A site outside the plate is drawn once: that is what makes a bound with global latents a bound.
    """

    def __init__(self, num_particles: int, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.frame = CondIndepStackFrame(PARTICLES, layout.particle_dim, num_particles, 0)

    def _pyro_sample(self, msg: Any) -> None:
        if self.layout.encloses(msg) and not site_is_subsample(msg):
            msg["cond_indep_stack"] = (self.frame,) + msg["cond_indep_stack"]
            BroadcastMessenger._pyro_sample(msg)


class Cut(Messenger):
    """Hands a leaf downstream in place of every reparameterised draw, and keeps both.

    With ``detach`` the draws carry no gradient at all, and nothing is kept; what is made of draws without
    noise of its own goes on depending on the parameters that it is made with.
    """

    def __init__(self, layout: Layout, *, detach: bool) -> None:
        super().__init__()
        self.layout = layout
        self.detach = detach
        self.draws: dict[str, Draw] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        value = msg["value"]
        if msg["is_observed"] or not value.requires_grad:
            return
        point = is_point(msg["fn"])
        if not self.detach:
            leaf = value.detach().requires_grad_()
            inside = self.layout.encloses(msg)
            self.draws[msg["name"]] = Draw(value, leaf, inside, msg["fn"].event_dim, point)
            msg["value"] = leaf
        elif not point:
            msg["value"] = value.detach()


class DrawnOnce(Messenger):
    """Keeps the first value of every site outside the data plate, over several runs.

    The choice of the rows of a subsample is such a site.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.values: dict[str, Any] = {}

    def _outside(self, msg: Any) -> bool:
        return not msg["is_observed"] and (site_is_subsample(msg) or not self.layout.encloses(msg))

    def _pyro_sample(self, msg: Any) -> None:
        if msg["value"] is None and msg["name"] in self.values and self._outside(msg):
            msg["value"] = self.values[msg["name"]]

    def _pyro_post_sample(self, msg: Any) -> None:
        if self._outside(msg):
            self.values.setdefault(msg["name"], msg["value"])


def through_port(trace: Trace, draws: dict[str, Draw], layout: Layout) -> Trace:
    """Let the model have the one draw of a guide itself, by a port that weighs the gradient coming back.

    The gradients by the model's parameters and by the draw are weighed differently, particle by particle.
    Where there is one draw, one pass back through the model serves both: the port multiplies what comes
    from each particle by the ratio of the two weights. Elsewhere the trace is returned as it is, and the
    model is gone back through twice.
    """
    enumerated = any(
        "_enumerate_dim" in site["infer"] for site in trace.nodes.values() if "infer" in site
    )
    if len(draws) != 1 or len(layout.dims) > 1 or enumerated:
        return trace
    ((name, draw),) = draws.items()
    if not draw.inside or draw.point:
        return trace
    kept = [dim in layout.dims for dim in range(-layout.nesting, 0)]

    def weigh(gradient: Tensor) -> Tensor:
        if draw.share is None:
            return gradient
        rows = [draw.share.shape[-1] if keep else 1 for keep in kept]
        share = draw.share.reshape((-1, *rows) + (1,) * draw.event_dim)
        return (gradient * share).reshape(gradient.shape).to(gradient.dtype)  # data may be double

    port = draw.value.view_as(draw.value)
    port.register_hook(weigh)
    draw.ported = True
    replayed = trace.copy()
    replayed.nodes[name] = {**trace.nodes[name], "value": port}
    return replayed
