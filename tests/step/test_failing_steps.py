"""A step that fails leaves the next ones as they would be if it had failed in Python."""

import functools

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from torch import nn

from pyrovae import SVI, guides

D = 4
X = torch.randn(12, 6, D, generator=torch.Generator().manual_seed(0))
ADAM = functools.partial(torch.optim.Adam, lr=0.01)


class Model(nn.Module):
    def __init__(self, likelihood=lambda logits: dist.Normal(logits, 1.0)):
        super().__init__()
        self.layer = nn.Linear(2, D)
        self.likelihood = likelihood

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", self.likelihood(self.layer(z)).to_event(1), obs=x)


def train(level, batches, **options):
    torch.manual_seed(0)
    model, guide = Model(**options), guides.Amortized(D, 2, hidden=(5,))
    svi = SVI(model, guide, ADAM, Trace_ELBO(), level=level)
    torch.manual_seed(1)
    errors = 0
    for x in batches:
        try:
            svi.step(x)
        except (RuntimeError, ValueError):
            errors += 1
    return [p.detach() for p in (*model.parameters(), *guide.parameters())], errors, svi._capture


def test_a_batch_of_a_wrong_shape_does_not_end_the_recording():
    batches = [x[:, :3] if n == 6 else x for n, x in enumerate(X)]
    eager, failed, _ = train("eager", batches)
    traced, failed_too, capture = train("traced", batches)
    assert failed == failed_too == 1
    assert capture.refused is None
    assert all(torch.equal(one, other) for one, other in zip(eager, traced, strict=True))
