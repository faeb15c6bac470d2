"""The two ends of an annealing path, for any model with continuous latents per datapoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrovae.log_weights import run_particles
from pyrovae.programs import Program
from pyrovae.sampling.flat import Flat, flat_of
from pyrovae.sampling.hmc import WithSlope, slope
from pyrovae.sampling.particle_blocks import without_statements
from pyrovae.step.policy import Level
from pyrovae.step.replay import Replay
from pyrovae.waist.joint import density, draws
from pyrovae.waist.sites import Layout, find_layout

COMPILED_FROM = 30_000  # calls of the slope: compiling takes about as long as it saves in so many


@dataclass
class AnnealedModel:
    """A model's path from a start that can be drawn from, the prior or a guide, to p(x, z).

    Attributes:
        model: p(x, z).
        guide: q(z | x), the start; None starts from the prior.
        args: positional arguments of both.
        kwargs: keyword arguments of both.
        layout: where the datapoints are.
        flat: the latents as one vector.
    """

    model: Program
    guide: Program | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    layout: Layout
    flat: Flat

    @classmethod
    def of(
        cls, model: Program, guide: Program | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AnnealedModel:
        """Run the model once to see its latents.

        Raises:
            ValueError: a latent that is discrete and not enumerated, outside the plate, or of a support that
                depends on another's draw; a guide of other latents.
        """
        layout = find_layout(model, guide, args, kwargs)
        with torch.no_grad():
            flat, _ = flat_of(model, args, kwargs, layout)
            if guide is not None:  # two that do not fit together are refused
                with torch.random.fork_rng():
                    run_particles(model, guide, args, kwargs, num_particles=1, layout=layout)
        return cls(model, guide, args, kwargs, layout, flat)

    @torch.no_grad()
    def draw(self, chains: int) -> Tensor:
        """(C, B, F) draws of the start."""
        start = self.guide or self.model
        run = draws(start, self.args, self.kwargs, num_particles=chains, layout=self.layout)
        return self.flat.pack(run.values).contiguous()

    @torch.no_grad()
    def without_latents(self) -> Tensor:
        """(1, B), log p(x), where no latent is left once the enumerated ones are summed out."""
        return density(self.model, {}, self.args, self.kwargs, layout=self.layout).joint

    def ends(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Log-densities of the start and of p(x, z) at positions (C, B, F), each (C, B)."""
        return self._ends_at(position, self.args, self.kwargs)

    def _ends_at(
        self, position: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        values, log_det = self.flat.unpack(position)
        model = without_statements(self.model)
        found = density(model, values, args, kwargs, layout=self.layout)
        start = found.latent
        if self.guide is not None:
            start = density(self.guide, values, args, kwargs, layout=self.layout).latent
        return start + log_det, found.joint + log_det

    def recorded(self, calls: int) -> WithSlope:
        """The same `ends`; their slope is recorded, or compiled, if so many calls of it are worth it."""

        def at(position: Tensor, beta: Tensor, args: Any, kwargs: Any) -> list[Tensor]:
            return slope(lambda free: self._ends_at(free, args, kwargs), position, beta)

        level: Level = "compiled" if calls >= COMPILED_FROM else "auto"
        programs = [self.model, self] if self.guide is None else [self.model, self.guide, self]
        replay = Replay(at, *programs, level=level, calls=calls)
        return WithSlope(
            self.ends, lambda position, beta: replay(position, beta, self.args, self.kwargs)
        )
