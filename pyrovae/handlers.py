"""Effect handlers: draws for K particles, draws cut from the guide, draws kept over several runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyro.poutine.broadcast_messenger import BroadcastMessenger
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.sites import PARTICLES, Layout


@dataclass
class Draw:
    """One reparameterised draw of a guide: the value, and the leaf put in its place downstream."""

    value: Tensor
    leaf: Tensor
    inside: bool  # the data plate


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

    With ``detach`` the draws carry no gradient at all, and nothing is kept.
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
        if self.detach:
            msg["value"] = value.detach()
        else:
            leaf = value.detach().requires_grad_()
            self.draws[msg["name"]] = Draw(value, leaf, self.layout.encloses(msg))
            msg["value"] = leaf


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
