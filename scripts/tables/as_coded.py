"""Ways of the code of Burda et al. 2016, which Li & Turner 2016 built on, that the texts leave out.

A configuration names these parts by their paths, such as ``as_coded.Adam``. Images are taken in the order
of the file in every pass (``shuffle: false``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn

import pyrovae.guides
import pyrovae.models
from pyrovae.families import Diagonal, diagonal_normal


class VAE(pyrovae.models.VAE):
    """The VAE of these papers for binary pixels, with the initial weights of `draw_layers`."""

    def __init__(
        self, features: int, *, latent: int, hidden: Sequence[int], equal: bool = True
    ) -> None:
        super().__init__(
            features, latent=latent, hidden=hidden, activation="tanh", likelihood="bernoulli"
        )
        draw_layers(self, equal)


class LogScales(Diagonal):
    """Independent normals of which an encoder gives the location and the logarithm of the scale."""

    def distribution(self, parameters: Tensor) -> TorchDistribution:
        """Normal(loc, exp(log scale)), event shape (L,)."""
        loc, log_scale = parameters.split(self.latent, -1)
        return diagonal_normal(loc, log_scale.exp())

    def transport(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """Loc + exp(log scale) * noise."""
        loc, log_scale = parameters.split(self.latent, -1)
        return loc + log_scale.exp() * noise


class Amortized(pyrovae.guides.Amortized):
    """Its encoder; with equal layers, location and log-scale begin as the same function of an image."""

    def __init__(
        self, features: int, latent: int, *, hidden: Sequence[int], equal: bool = True
    ) -> None:
        super().__init__(features, latent, hidden=hidden, activation="tanh")
        self.family = LogScales(latent)
        draw_layers(self, equal)


@torch.no_grad()
def draw_layers(program: nn.Module, equal: bool) -> None:
    """Draw the weights of each layer, of Glorot & Bengio 2010; equal, from the same seed, 123, as the code.

    Equal layers of one shape begin alike. The last layer of an encoder is two, of location and log-scale.
    """
    layers = [layer for layer in program.modules() if isinstance(layer, nn.Linear)]
    for layer in layers:
        heads = 2 if isinstance(program, Amortized) and layer is layers[-1] else 1
        for weight in layer.weight.chunk(heads):
            outputs, inputs = weight.shape
            bound = (6 / (inputs + outputs)) ** 0.5
            if equal:
                drawn = np.random.RandomState(123).uniform(-bound, bound, (inputs, outputs))
                weight.copy_(torch.from_numpy(drawn.T))
            else:
                weight.uniform_(-bound, bound)


class Adam(torch.optim.Optimizer):
    r"""Adam in which a step is taken with the moments from before its own gradient.

    .. math:: \theta_t = \theta_{t-1} - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}
       \frac{m_{t-1}}{\sqrt{v_{t-1}} + \epsilon}

    The moments are those of Adam but that v begins at 1; beta1 is 0.99, beta2 0.999, epsilon 1e-4. Epsilon
    and the 1 are for a gradient that is the sum over a batch.

    Args:
        params: to train.
        lr: the learning rate, eta.
        larger: by how much a gradient here is larger than the sum over a batch: N / B in a fit.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, larger: float = 1.0) -> None:
        super().__init__(params, {"lr": lr, "betas": (0.99, 0.999), "eps": 1e-4 * larger})
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.full_like(parameter, larger**2),
                }

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the parameters, and then the moments."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients = [p.grad for p in parameters]
            states = [self.state[p] for p in parameters]
            first, second = ([s[key] for s in states] for key in ("exp_avg", "exp_avg_sq"))
            torch._foreach_add_([s["step"] for s in states], 1.0)
            t, (beta1, beta2) = float(states[0]["step"]), group["betas"]
            rate = group["lr"] * (1 - beta2**t) ** 0.5 / (1 - beta1**t)
            below = torch._foreach_sqrt(second)
            torch._foreach_add_(below, group["eps"])
            torch._foreach_addcdiv_(parameters, first, below, -rate)
            torch._foreach_lerp_(first, gradients, 1 - beta1)
            torch._foreach_mul_(second, beta2)
            torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        return loss
