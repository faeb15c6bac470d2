"""Conditional, hierarchical and mixture-prior VAEs: against integrals, against the VAE they contain."""

import functools
import math

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine

import pyrovae
from pyrovae import log_weights, objectives
from pyrovae.guides import Amortized, Hierarchical, ModelEncoder
from pyrovae.models import VAE, ConditionalVAE, HierarchicalVAE, MixturePriorVAE, VampPriorVAE
from pyrovae.programs import data_plate


def grid(dimensions, points=81, reach=7.0):
    """Points and the log of their weights for a sum that is an integral."""
    line = torch.linspace(-reach, reach, points, dtype=torch.float64)
    cells = torch.cartesian_prod(*[line] * dimensions).reshape(-1, dimensions)
    return cells, dimensions * math.log(float(line[1] - line[0]))


@pytest.mark.parametrize("condition", [2, [3, 4], [0, 2]])
@pytest.mark.parametrize("conditional_prior", [False, True])
def test_the_evidence_given_the_condition_is_the_integral(condition, conditional_prior):
    """Importance sampling of log p(y | c) agrees with a sum over a fine grid of z."""
    torch.manual_seed(0)
    model = ConditionalVAE(
        5, latent=1, condition=condition, conditional_prior=conditional_prior, hidden=(4,)
    ).double()
    x = torch.rand(3, 5).double()
    given = [3, 4] if condition == 2 else condition
    free = [d for d in range(5) if d not in given]
    z, log_cell = grid(1, 801)
    c = x[:, given]
    log_joint = model.prior_given(c).log_prob(z[:, None]) + model.decode_given(
        z[:, None].expand(-1, 3, -1), c
    ).log_prob(x[:, free])
    exact = log_joint.logsumexp(0) + log_cell
    estimate = pyrovae.evidence.ImportanceSampling(num_particles=4000)(
        model, Amortized(5, 1, hidden=(4,)).double(), x
    )
    assert ((estimate.value - exact).abs() < 5 * estimate.standard_error + 1e-6).all()


def test_missing_values_of_a_conditional_vae_are_integrated_out():
    torch.manual_seed(0)
    model = ConditionalVAE(5, latent=1, condition=2, hidden=(4,)).double()
    x = torch.rand(3, 5).double()
    x[0, 1] = x[1, :3] = x[2, 4] = math.nan
    trace = poutine.trace(model).get_trace(x)
    z = trace.nodes["z"]["value"]
    c = x[:, 3:].nan_to_num()
    each = model.decode_given(z, c).base_dist.log_prob(x[:, :3].nan_to_num())
    expected = torch.where(x[:, :3].isnan(), 0.0, each).sum(-1)
    site = trace.nodes["x"]
    torch.testing.assert_close(site["fn"].log_prob(site["value"]), expected)
    assert expected[1] == 0


def test_generated_rows_hold_their_condition():
    model = ConditionalVAE(64 + 10, latent=2, condition=10)
    rows = model.generate(torch.eye(10), seed=1)
    assert torch.equal(rows[:, 64:], torch.eye(10))
    assert torch.equal(rows, model.generate(torch.eye(10), seed=1))
    assert not torch.equal(rows, model.generate(torch.eye(10), seed=2))
    assert not torch.equal(rows, model.generate(torch.eye(10), seed=1, mean=True))


def test_conditions_are_taken_in_the_order_that_was_asked_for():
    model = ConditionalVAE(4, latent=1, condition=[3, 1])
    row = model.generate(torch.tensor([[10.0, 20.0]]))
    assert (row[0, 3], row[0, 1]) == (10.0, 20.0)
    with pytest.raises(ValueError, match=r"shape \(1, 3\): expected \(M, 2\)"):
        model.generate(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"shape \(3, 6\), the model was made for rows of 4"):
        model(torch.zeros(3, 6))


def test_a_conditional_vae_uses_its_condition():
    torch.manual_seed(0)
    c = (torch.rand(400, 1) > 0.5).float()
    data = torch.cat([4 * c - 2 + 0.1 * torch.randn(400, 1), c], 1)
    model, guide = ConditionalVAE(2, latent=1, condition=1, hidden=(16,)), Amortized(2, 1)
    model.initialise(data)
    adam = functools.partial(torch.optim.Adam, lr=5e-3)
    pyrovae.fit(model, guide, data, optim=adam, epochs=30, progress=False)
    made = model.generate(torch.tensor([[0.0], [1.0]]).repeat(200, 1))[:, 0]
    assert (made[::2] < 0).float().mean() > 0.95
    assert (made[1::2] > 0).float().mean() > 0.95


def test_the_evidence_of_two_layers_is_the_integral():
    torch.manual_seed(0)
    model = HierarchicalVAE(
        3, latent=1, lower=1, hidden=(4,), upper_hidden=(4,), likelihood="gaussian", floor=0.5
    ).double()
    x = torch.rand(2, 3).double()
    z, log_cell = grid(2, 161)
    z1, z2 = z[:, :1], z[:, 1:]
    prior = model.upper_prior().log_prob(z2) + model.lower_prior(z2).log_prob(z1)
    log_joint = prior[:, None] + model.decode_lower(z1[:, None].expand(-1, 2, -1)).log_prob(x)
    exact = log_joint.logsumexp(0) + log_cell

    def prior_guide(x, index=None, size=None):
        with data_plate(len(x), index, size):
            z2 = pyro.sample("z2", model.upper_prior())
            pyro.sample("z1", model.lower_prior(z2))

    estimate = pyrovae.evidence.ImportanceSampling(num_particles=20000)(model, prior_guide, x)
    assert ((estimate.value - exact).abs() < 5 * estimate.standard_error + 1e-4).all()


def test_the_guide_of_two_layers_is_the_product_of_its_parts():
    model = HierarchicalVAE(3, latent=2, lower=4).double()
    guide, x = Hierarchical(3, model).double(), torch.rand(5, 3).double()
    trace = poutine.trace(guide).get_trace(x)
    z1, z2 = (trace.nodes[name]["value"] for name in ("z1", "z2"))
    expected = guide.lower_family.distribution(guide.encoder(x)).log_prob(z1).sum()
    expected = (
        expected + guide.upper_family.distribution(guide.upper_encoder(z1)).log_prob(z2).sum()
    )
    torch.testing.assert_close(trace.log_prob_sum(), expected)
    assert z1.shape == (5, 4)


@pytest.mark.parametrize(
    "model",
    [ConditionalVAE, HierarchicalVAE, MixturePriorVAE, VampPriorVAE],
    ids=lambda m: m.__name__,
)
def test_every_option_of_a_likelihood_can_be_given(model):
    made = model(12, likelihood="discretised_logistic", levels=17, floor=0.02)
    assert (made.decoder.likelihood.levels, made.decoder.likelihood.floor) == (17, 0.02)


def test_sizes_of_two_layers_are_refused_by_name():
    for name in ("latent", "lower"):
        with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1; got 0"):
            HierarchicalVAE(4, **{name: 0})


def test_two_layers_train_under_every_gradient():
    x = (torch.rand(16, 5) > 0.5).float()
    for gradient in ("pathwise", "stl", "dreg"):
        model = HierarchicalVAE(5, latent=2, lower=3, hidden=(8,), upper_hidden=(8,))
        guide = Hierarchical(5, model, hidden=(8,), upper_hidden=(8,))
        objectives.IWAE(num_particles=4, gradient=gradient).loss_and_grads(model, guide, x)
        for program in (model, guide):
            assert all(p.grad is not None and p.grad.isfinite().all() for p in program.parameters())


def test_a_prior_of_one_component_is_a_vae():
    torch.manual_seed(0)
    mixture = MixturePriorVAE(5, latent=2, components=1, hidden=(4,)).double()
    plain, guide = VAE(5, latent=2, hidden=(4,)).double(), Amortized(5, 2).double()
    plain.decoder.load_state_dict(mixture.decoder.state_dict())
    x = torch.rand(3, 5).double()

    def weights(model):
        torch.manual_seed(1)
        return log_weights(model, guide, x, num_particles=4)

    torch.testing.assert_close(weights(mixture), weights(plain), atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", ["mixture", "vamp"])
def test_the_evidence_under_a_mixture_prior_is_the_integral(kind):
    torch.manual_seed(0)
    if kind == "mixture":
        model = MixturePriorVAE(3, latent=2, components=4, hidden=(4,)).double()
        guide = Amortized(3, 2, hidden=(4,)).double()
    else:
        model = VampPriorVAE(3, latent=2, components=4, hidden=(4,), encoder_hidden=(4,)).double()
        guide = ModelEncoder(model)
    x = torch.rand(2, 3).double()
    z, log_cell = grid(2, 161)
    log_joint = model.prior().log_prob(z)[:, None] + model.decode(
        z[:, None].expand(-1, 2, -1)
    ).log_prob(x)
    exact = log_joint.logsumexp(0) + log_cell
    estimate = pyrovae.evidence.ImportanceSampling(num_particles=20000)(model, guide, x)
    assert ((estimate.value - exact).abs() < 5 * estimate.standard_error + 1e-4).all()


def test_a_vamp_prior_is_the_mean_of_its_encoders_answers():
    model = VampPriorVAE(3, latent=2, components=4).double()
    x = torch.rand(9, 3).double()
    model.initialise(x, seed=2)
    assert all(any(torch.equal(u, row) for row in x) for u in model.pseudo_inputs)
    z = torch.randn(7, 2).double()
    each = model.encode(model.pseudo_inputs).log_prob(z[:, None]).exp()
    torch.testing.assert_close(model.prior().log_prob(z), each.mean(1).log())
    # Training moves the encoder through the prior as well as through the guide.
    prior = model.prior().log_prob(z).sum()
    assert torch.autograd.grad(prior, model.prior_encoder.last.weight)[0].abs().sum() > 0


def test_categories_of_a_mixture_prior_are_bayes_rule():
    model = MixturePriorVAE(3, latent=2, components=4).double()
    z = torch.randn(7, 2).double()
    prior = model.prior()
    each = prior.component_distribution.log_prob(z[:, None]) + prior.mixture_distribution.logits
    expected = (each - prior.log_prob(z)[:, None]).exp()
    torch.testing.assert_close(model.category(z), expected)


def test_a_mixture_prior_can_be_set():
    model = MixturePriorVAE(3, latent=2, components=3).double()
    weights, loc = torch.tensor([0.2, 0.3, 0.5]).double(), torch.randn(3, 2).double()
    scale, z = torch.rand(3, 2).double() + 0.1, torch.randn(7, 2).double()
    model.set_prior(weights, loc, scale)
    each = torch.distributions.Normal(loc, scale).log_prob(z[:, None]).sum(-1)
    torch.testing.assert_close(model.prior().log_prob(z), (each + weights.log()).logsumexp(-1))


def test_impossible_settings_are_refused():
    for condition in (0, 5, [7], []):
        with pytest.raises(ValueError, match="of 5 columns: at least one must be given"):
            ConditionalVAE(5, condition=condition)
    with pytest.raises(ValueError, match="components must be a whole number"):
        MixturePriorVAE(5, components=0)
    with pytest.raises(ValueError, match="components must be a whole number"):
        VampPriorVAE(5, components=0)
    with pytest.raises(ValueError, match="latent must be a whole number"):
        HierarchicalVAE(5, latent=0)
    with pytest.raises(TypeError, match="needs a model of two layers .*got VAE"):
        Hierarchical(5, VAE(5))
    with pytest.raises(TypeError, match="encoder of its own, such as VampPriorVAE, but got VAE"):
        ModelEncoder(VAE(5))
    with pytest.raises(ValueError, match="other than 0 and 1"):
        HierarchicalVAE(5).check_data(torch.full((1, 5), 0.5))
    ConditionalVAE(5, condition=1, likelihood="bernoulli").check_data(
        torch.tensor([[0.0, 1, 1, 0, 0.5]])
    )


@pytest.mark.parametrize(
    "mask", [[True, False, False, True], np.array([True, False, False, True]), True, [0.5]]
)
def test_a_mask_is_no_list_of_columns(mask):
    """It would pass for the columns 0 and 1."""
    with pytest.raises(ValueError, match="give a whole number, or the numbers of the columns"):
        ConditionalVAE(4, condition=mask)


@pytest.mark.parametrize("columns", [np.array([0, 3]), torch.tensor([3, 0, 3]), range(0, 4, 3)])
def test_columns_come_in_any_list_of_whole_numbers(columns):
    assert ConditionalVAE(4, condition=columns).given.tolist() == [0, 3]
    assert ConditionalVAE(4, condition=np.int64(2)).given.tolist() == [2, 3]
