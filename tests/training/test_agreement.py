"""Sites that every process of a fit would count whole."""

from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.training.agreement import _refuse_sites_of_no_row
from pyrovae.training.feed import feed

X = torch.zeros(4, 1)


def refuse(statement):
    """Look at a model that makes this statement outside its plate."""

    def model(x):
        statement()
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(x.new_zeros(1), 1.0).to_event(1), obs=x)

    def guide(x):
        pass

    svi = SimpleNamespace(model=model, guide=guide)
    _refuse_sites_of_no_row(svi, feed(X, None, model, guide))


def test_a_factor_is_one():
    with pytest.raises(TypeError, match="'penalty' is the same for all rows"):
        refuse(lambda: pyro.factor("penalty", torch.tensor(-1.0)))


def test_a_value_that_is_only_named_is_none():
    """It was refused, though it adds nothing to the bound."""
    refuse(lambda: pyro.deterministic("scale", torch.tensor(1.0)))
