"""A guide that starts from an encoder and takes a few gradient steps for each datapoint."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae.densities.missing import shown
from pyrovae.families import make_family
from pyrovae.networks.mlp import MLP
from pyrovae.programs import Program, data_plate
from pyrovae.waist.joint import density
from pyrovae.waist.sites import find_layout


class SemiAmortized(PyroModule):
    r"""A guide that starts from an encoder and takes a few gradient steps for each datapoint.

    .. math:: \lambda_0 = \text{encoder}(x), \qquad
              \lambda_{t+1} = \lambda_t + \eta \, \nabla_\lambda \mathcal{L}(\lambda_t; x), \qquad
              q(z \mid x) = \text{family}(z;\, \lambda_T)

    The bound that the steps climb is estimated from one fixed set of noise, so that the guide is a
    function of x alone: of neither the batch around it nor the random state. A step that does not climb
    is not taken, and the next is shorter, so the end is never worse than the encoder on that estimate.

    Args:
        features: D, observed dimensions.
        latent: L, latent dimensions.
        model: p(x, z), with one latent site ``"z"``.
        hidden: sizes of the encoder's hidden layers, from x to z.
        activation: what follows each hidden layer.
        family: ``"diagonal"``, ``"full"`` or ``"flow"``.
        steps: T, gradient steps per datapoint.
        step_size: of the first step; one for each of the family's numbers, and trained with them.
        particles: draws that estimate the bound inside the guide; even, since they come in mirrored pairs.
        differentiate: whether training goes through the steps (Kim et al.) or takes where they end as given.

    Raises:
        ValueError: an unknown family or activation, a size or number of steps below 1, a step size not
            above 0, or an odd number of particles.

    Source: Semi-amortized variational autoencoders (Kim, Wiseman, Miller, Sontag & Rush, 2018).

    How to read it: between `Amortized` (no steps) and `PerDatapoint` (steps to convergence), it shows
    how much of the amortization gap a few steps close, and what they cost.

    Example:
        >>> import torch
        >>> from pyrovae.models import VAE
        >>> guide = SemiAmortized(64, 2, VAE(64, latent=2), steps=2)
        >>> guide(torch.zeros(3, 64)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        features: int,
        latent: int,
        model: Program,
        *,
        hidden: Sequence[int] = (200, 200),
        activation: str = "relu",
        family: str = "diagonal",
        steps: int = 5,
        step_size: float = 0.01,
        particles: int = 4,
        differentiate: bool = True,
    ) -> None:
        super().__init__()
        if steps < 1 or particles < 2 or particles % 2 or not step_size > 0:
            raise ValueError(
                f"steps is {steps}, step_size {step_size} and particles {particles}: there must be at least "
                "one step, of a size above 0, and an even number of particles"
            )
        self.features = features
        self.latent = latent
        self.family_name = family
        self.family = make_family(family, latent)
        self.encoder = MLP(features, self.family.size, hidden=hidden, activation=activation)
        self.log_step = nn.Parameter(torch.full((self.family.size,), math.log(step_size)))
        self.steps = steps
        self.differentiate = differentiate
        half = torch.randn(
            particles // 2, 1, latent, generator=torch.Generator().manual_seed(particles)
        )
        self.register_buffer("noise", torch.cat([half, -half]), persistent=False)
        # In a tuple, so that the model's parameters are not registered as the guide's a second time.
        self._model = (model,)
        # Found now: within a run of this guide, Pyro's parameters would be taken from under it.
        self._layout = find_layout(model, None, (torch.zeros(2, features),), {})

    @property
    def model(self) -> Program:
        """The model whose bound the steps climb."""
        return self._model[0]

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z for each row of ``x``: (..., B, L)."""
        parameters = self.local_parameters(x)
        with data_plate(len(x), index, size):
            z: Tensor = pyro.sample("z", self.family.distribution(parameters))
        return z

    def local_parameters(self, x: Tensor) -> Tensor:
        """What the family is given for each row of ``x``, after the steps: (B, size)."""
        seen = shown(x, self.encoder)
        through = self.differentiate and torch.is_grad_enabled()
        with torch.enable_grad():
            here = self.encoder(seen)
            if not through:
                here = here.detach()
            start = here
            step = self.log_step.exp().expand_as(here)
            bound, gradient = self._climb(here, x, through)
            for _ in range(self.steps):
                # No number moves by more than 1 at once: a wild step must not leave the family.
                there = here + (step * gradient).clamp(-1.0, 1.0)
                bound_there, gradient_there = self._climb(there, x, through)
                better = (bound_there > bound)[:, None]
                here = torch.where(better, there, here)
                gradient = torch.where(better, gradient_there, gradient)
                bound = torch.where(better[:, 0], bound_there, bound)
                step = torch.where(better, step, 0.3 * step)
        if self.differentiate or not torch.is_grad_enabled():
            return here
        # Where the steps led is a constant beside what the encoder said.
        return self.encoder(seen) + (here - start).detach()

    def _climb(self, parameters: Tensor, x: Tensor, through: bool) -> tuple[Tensor, Tensor]:
        """The bound of each row at ``parameters`` (B,), detached, and its gradient (B, size)."""
        at = parameters if through else parameters.detach().requires_grad_()
        z = self.family.transport(at, self.noise)
        log_joint = density(self.model, {"z": z}, (x,), {}, layout=self._layout).joint
        bound = (log_joint - self.family.distribution(at).log_prob(z)).mean(0)
        (gradient,) = torch.autograd.grad(bound.sum(), at, create_graph=through)
        return bound.detach(), gradient
