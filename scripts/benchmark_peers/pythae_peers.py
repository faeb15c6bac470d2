"""pythae's VAE and IWAE with the networks of the workload, each step as its trainer takes it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from data import batches
from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor, nn
from torch_peers import network
from workloads import Workload

Run = Callable[[int], None]


class Encoder(BaseEncoder):
    """From x to mean and log variance of z."""

    def __init__(self, w: Workload) -> None:
        super().__init__()
        self.network = network([w.features, *w.hidden, 2 * w.latent])

    def forward(self, x: Tensor) -> ModelOutput:
        """Both halves of the output."""
        loc, log_variance = self.network(x).chunk(2, -1)
        return ModelOutput(embedding=loc, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """From z to the probability of a 1."""

    def __init__(self, w: Workload) -> None:
        super().__init__()
        self.network = nn.Sequential(network([w.latent, *w.hidden[::-1], w.features]), nn.Sigmoid())

    def forward(self, z: Tensor) -> ModelOutput:
        """The probabilities."""
        return ModelOutput(reconstruction=self.network(z))


def trainer(workload: Workload) -> Run:
    """Forward, backward, Adam."""
    torch.manual_seed(workload.seed)
    common = {"input_dim": (workload.features,), "latent_dim": workload.latent}
    parts = {"encoder": Encoder(workload), "decoder": Decoder(workload)}
    if workload.particles == 1:
        model = VAE(VAEConfig(**common, reconstruction_loss="bce"), **parts)
    else:
        config = IWAEConfig(**common, reconstruction_loss="bce", number_samples=workload.particles)
        model = IWAE(config, **parts)
    model = model.to(workload.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    data = [BaseDataset(x, x.new_zeros(len(x)))[:] for x in batches(workload)]

    def run(steps: int) -> None:
        for n in range(steps):
            output = model(data[n % len(data)], epoch=1, dataset_size=len(data))
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()
            output.loss.item()  # its trainer adds the loss up at every step

    return run
