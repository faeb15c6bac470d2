"""Naive Monte Carlo with draws from a uniform box."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyrovae.programs import Program, own_parameters
from pyrovae.sampling.evidence_result import Evidence
from pyrovae.sampling.flat import flat_of
from pyrovae.sampling.moments import LogMoments
from pyrovae.sampling.particle_blocks import as_checked, blocks
from pyrovae.sampling.rows import as_rows
from pyrovae.waist.joint import density
from pyrovae.waist.sites import find_layout


class UniformBox:
    r"""Naive Monte Carlo: z uniform in a box around the origin, the whole joint density as weight.

    .. math:: \hat p(x) = \frac{(2h)^L}{K} \sum_{k=1}^{K} p(x, z_k), \qquad z_k \sim U[-h, h]^L

    Args:
        num_particles: K, draws per datapoint.
        half_width: h, in units of z (of its unconstrained transform, where z has bounds). The mass of
            p(x, z) outside the box is missed.
        keep: whether to return the log-weights too, (K, B).

    Raises:
        ValueError: K below 1, a half-width not above 0, or a model with a discrete latent that is not
            enumerated, a masked one, or one whose support depends on another.

    Source: Monte Carlo theory, methods and examples (Owen, 2013), chapter 2.

    How to read it: the textbook integral. With every dimension of z the share of draws that hit anything
    falls by a factor, so beyond two or three dimensions its variance makes it useless.

    Example:
        >>> import torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> UniformBox(num_particles=7)(ProbabilisticPCA(5, latent=2), None, torch.zeros(3, 5)).cost
        7
    """

    def __init__(
        self, *, num_particles: int = 1000, half_width: float = 5.0, keep: bool = False
    ) -> None:
        if num_particles < 1 or not half_width > 0:
            raise ValueError(
                f"num_particles is {num_particles} and half_width {half_width}: at least one draw, and a "
                "box of some width, are needed"
            )
        self.num_particles = num_particles
        self.half_width = half_width
        self.keep = keep

    @torch.no_grad()
    def __call__(
        self, model: Program, guide: Program | None, x: Tensor, *, seed: int = 0, **kwargs: Any
    ) -> Evidence:
        """Estimate log p(x) of each row of ``x`` (B, D); the guide is not used."""
        x = as_rows(x, model, guide)
        layout = find_layout(model, None, (x,), kwargs)
        total = LogMoments(keep=self.keep)
        with torch.random.fork_rng(), own_parameters():
            flat, example = flat_of(model, (x,), kwargs, layout, integrated=True)
            rows = example.density.joint.shape[1]
            like = next(iter(example.values.values()), example.density.joint)
            log_volume = flat.size * math.log(2.0 * self.half_width)
            for number, count in enumerate(blocks(self.num_particles, seed)):
                u = torch.rand(count, rows, flat.size, dtype=like.dtype, device=like.device)
                values, log_det = flat.unpack((2.0 * u - 1.0) * self.half_width)
                with as_checked(number):
                    joint = density(model, values, (x,), kwargs, layout=layout).joint
                total.add(joint + log_det + log_volume)
        return total.evidence(self.num_particles)
