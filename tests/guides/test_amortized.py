"""The encoder is all that a draw depends on, and its gradients are those of the bound."""

import pytest
import torch
from pyro import poutine

import pyrovae
from pyrovae.guides import Amortized


def test_rows_do_not_see_each_other():
    guide = Amortized(6, 2)
    x = torch.randn(4, 6)
    torch.testing.assert_close(guide.local_parameters(x)[2:3], guide.local_parameters(x[2:3]))


def test_the_family_gets_what_the_encoder_says():
    guide = Amortized(6, 2, family="full")
    x = torch.randn(4, 6)
    site = poutine.trace(guide).get_trace(x).nodes["z"]
    torch.testing.assert_close(site["fn"].loc, guide.encoder(x)[:, :2])


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="known ones are diagonal"):
        Amortized(6, 2, family="round")
    with pytest.raises(ValueError, match="activation is 'step'"):
        Amortized(6, 2, activation="step")
    with pytest.raises(ValueError, match="features must be a whole number of at least 1; got 0"):
        Amortized(0, 2)


def test_dropout_is_for_training_alone():
    x = torch.rand(6, 4)
    guide = Amortized(4, 2, hidden=(50,), dropout=0.5)
    assert not torch.equal(guide.local_parameters(x), guide.local_parameters(x))
    pyrovae.fit(pyrovae.models.ProbabilisticPCA(4, latent=2), guide, x, epochs=2, progress=False)
    assert torch.equal(guide.local_parameters(x), guide.local_parameters(x))


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_dropout_is_a_share(share):
    with pytest.raises(ValueError, match="dropout is .*: it is a share"):
        Amortized(4, 2, dropout=share)


def test_convolutions_have_no_dropout():
    with pytest.raises(TypeError, match="dropout is for network='mlp'"):
        Amortized(16, 2, hidden=(3,), network="convolutional", dropout=0.1)
