"""Programs that several diagnostics are held against."""

import pyro
import pyro.distributions as dist
import pytest
import torch


@pytest.fixture
def number_a_row():
    """A model of rows of one number, x of shape (B,), and its exact posterior."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.tensor(0.0), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def posterior(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    return model, posterior
