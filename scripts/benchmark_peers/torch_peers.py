"""PyTorch by hand: the loss as an expert would write it, with the fused Adam; eager, and compiled."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from data import batches, bit_pixels
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus
from workloads import Workload

Run = Callable[[int], None]
SHIFT = 0.5413248546129181  # softplus of it is 1


class ByHand(nn.Module):
    """Minus the bound of a VAE, or minus the log-likelihood of a mixture."""

    def __init__(self, w: Workload) -> None:
        super().__init__()
        self.w = w
        if w.components:
            self.logits = nn.Parameter(torch.zeros(w.components))
            self.loc = nn.Parameter(torch.randn(w.components, w.features))
            self.raw = nn.Parameter(torch.zeros(w.components, w.features))
            return
        out = w.features if bit_pixels(w) else 2 * w.features
        self.encoder = network([w.features, *w.hidden, 2 * w.latent])
        self.decoder = network([w.latent, *w.hidden[::-1], out])

    def forward(self, x: Tensor) -> Tensor:
        """The loss of a batch, summed."""
        if self.w.components:
            return self.mixture(x)
        loc, raw = self.encoder(x).chunk(2, -1)
        scale = softplus(raw + SHIFT)
        k = self.w.particles
        noise = torch.randn((k, *loc.shape) if k > 1 else loc.shape, device=loc.device)
        z = loc + scale * noise
        output = self.decoder(z)
        if bit_pixels(self.w):
            target = x.expand_as(output)
            fit = -binary_cross_entropy_with_logits(output, target, reduction="none").sum(-1)
        else:
            mean, raw = output.chunk(2, -1)
            spread = 0.01 + softplus(raw + SHIFT)
            fit = (-0.5 * ((x - mean) / spread) ** 2 - spread.log()).sum(-1)
            fit = fit - 0.5 * self.w.features * math.log(2 * math.pi)
        if k == 1:
            divergence = 0.5 * (loc**2 + scale**2 - 1).sum(-1) - scale.log().sum(-1)
            return (divergence - fit).sum()
        log_weights = fit - 0.5 * (z**2 - noise**2).sum(-1) + scale.log().sum(-1)
        return -(log_weights.logsumexp(0) - math.log(k)).sum()

    def mixture(self, x: Tensor) -> Tensor:
        """Minus the log-likelihood."""
        scale = (1e-3 + self.raw.exp()).sqrt()
        terms = -0.5 * ((x[:, None] - self.loc) / scale) ** 2 - scale.log()
        constant = 0.5 * self.w.features * math.log(2 * math.pi)
        return -((terms.sum(-1) + self.logits.log_softmax(0)).logsumexp(1) - constant).sum()


def network(sizes: list[int]) -> nn.Sequential:
    """Layers of these sizes, with rectified ones in between."""
    layers: list[nn.Module] = []
    for i, o in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def eager(workload: Workload) -> Run:
    """Eager, fused Adam."""
    torch.manual_seed(workload.seed)
    return _trained(workload, ByHand(workload).to(workload.device))


def compiled(workload: Workload) -> Run:
    """``torch.compile`` of the loss, fused Adam."""
    torch.manual_seed(workload.seed)
    model = ByHand(workload).to(workload.device)
    model.compile()
    return _trained(workload, model)


def _trained(workload: Workload, model: nn.Module) -> Run:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    data = batches(workload)

    def run(steps: int) -> None:
        for n in range(steps):
            optimizer.zero_grad(set_to_none=True)
            model(data[n % len(data)]).backward()
            optimizer.step()

    return run
