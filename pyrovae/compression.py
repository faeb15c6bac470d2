"""A latent-variable model as a code: rate and distortion, and what bits-back coding sends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.log_weights import refuse_shared, run_particles
from pyrovae.programs import Program
from pyrovae.registry.plain import whole_numbers
from pyrovae.sampling.rows import as_rows
from pyrovae.waist.sites import find_layout

BIT = math.log(2.0)


@dataclass(frozen=True)
class Code:
    """What it takes to send each datapoint, in nats; divide by `BIT` for bits.

    Args:
        latents: (B,), to send z, coded by the prior: E_q[-log p(z)].
        data: (B,), to send x given z, coded by the decoder, the distortion: E_q[-log p(x | z)].
        returned: (B,), what the receiver gets back, who can undo the draw of z: E_q[-log q(z | x)].
    """

    latents: Tensor
    data: Tensor
    returned: Tensor

    @property
    def rate(self) -> Tensor:
        """(B,), what z tells about x: the divergence of q(z | x) from the prior, E_q[log q - log p]."""
        return self.latents - self.returned

    @property
    def distortion(self) -> Tensor:
        """(B,), what is left to tell: E_q[-log p(x | z)]."""
        return self.data

    @property
    def net(self) -> Tensor:
        """(B,), the whole: rate and distortion, which is minus the evidence lower bound."""
        return self.latents + self.data - self.returned


@torch.no_grad()
def code_length(
    model: Program, guide: Program, x: Tensor, *, num_particles: int = 100, seed: int = 0
) -> Code:
    r"""Count what two correspondents who share model and guide send each other for each datapoint.

    .. math:: \underbrace{E_q[-\log p(z)]}_{\text{latents}}
              + \underbrace{E_q[-\log p(x \mid z)]}_{\text{data}}
              - \underbrace{E_q[-\log q(z \mid x)]}_{\text{returned}}
              = \text{rate} + \text{distortion} = -\text{ELBO}

    Args:
        model: p(x, z).
        guide: q(z | x).
        x: (B, D).
        num_particles: draws of z for each datapoint.
        seed: of the draws; the global random state is left as it was.

    Returns:
        A `Code`: nats per datapoint. For a density these are differential, and mean something as a
        difference, or after `bits_per_image`.

    Raises:
        ValueError: fewer than one particle, or a latent that all datapoints share.

    Source: Keeping neural networks simple by minimizing the description length of the weights (Hinton &
    van Camp, 1993), its bits back; Fixing a broken ELBO (Alemi et al., 2018), its rate and distortion.

    How to read it: z is drawn with bits that were to be sent anyway, and these come back; without that
    trick the code would be longer by ``returned``.

    Example:
        >>> from pyrovae.guides import ExactPosterior
        >>> from pyrovae.models import ProbabilisticPCA
        >>> model, x = ProbabilisticPCA(3, latent=1), torch.zeros(2, 3)
        >>> code = code_length(model, ExactPosterior(model), x)
        >>> torch.allclose(code.net, -model.exact_log_evidence(x), atol=1e-5)
        True
    """
    x = as_rows(x, model, guide)
    whole_numbers(num_particles=num_particles)
    layout = find_layout(model, guide, (x,), {})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        particles = run_particles(
            model, guide, (x,), {}, num_particles=num_particles, layout=layout, detail="sampled"
        )
    refuse_shared(particles, layout)
    log_guide = particles.log_guide
    if particles.log_enumerated is not None:
        log_guide = log_guide + particles.log_enumerated
    if particles.log_prior is None:
        raise ValueError("these programs have no prior: there is no latent site to send")
    means = [
        particles.average(terms).mean(0)
        for terms in (
            -particles.log_prior,
            particles.log_prior - particles.log_joint,
            -log_guide,
        )
    ]
    return Code(*means)


def bits_per_image(nats: Tensor, features: int, levels: int | None = None) -> Tensor:
    """Nats of a density on [0, 1]^D as bits of the grey levels, or nats of a probability as bits.

    Args:
        nats: code lengths, such as ``Code.net``.
        features: D.
        levels: grey levels that dequantization made a density on [0, 1] of; None for binary pixels and
            others that have probabilities.

    Returns:
        Bits per image: what the image takes in a file, on average no less than its entropy.

    Source: A note on the evaluation of generative models (Theis, van den Oord & Bethge, 2016).

    Example:
        >>> bits_per_image(torch.tensor(0.0), features=64, levels=16)
        tensor(256.)
    """
    return (nats + (0.0 if levels is None else features * math.log(levels))) / BIT
