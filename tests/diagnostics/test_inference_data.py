"""Model, guide and data as ArviZ sees them, number for number."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae
from pyrovae.diagnostics import k_hat, predictive_check, to_inference_data
from pyrovae.guides import Amortized, ExactPosterior, PerDatapoint
from pyrovae.models import VAE, GaussianMixture, ProbabilisticPCA
from pyrovae.sampling.posterior import posterior_draws, replicate
from pyrovae.waist.joint import density
from pyrovae.waist.sites import find_layout

pytestmark = pytest.mark.filterwarnings("ignore")


def test_every_group_holds_what_it_says():
    model, x = VAE(6, latent=2, hidden=(8,)), torch.rand(5, 6)
    guide = Amortized(6, 2, hidden=(8,))
    data = to_inference_data(model, guide, x, chains=2, draws=40, coords={"row": list("abcde")})
    z = torch.as_tensor(data["posterior"]["z"].values).flatten(0, 1)
    assert z.shape == (80, 5, 2)
    with torch.no_grad():
        likelihood = model.decode(z).log_prob(x)
        q = guide.family.distribution(guide.local_parameters(x)).log_prob(z)
        weights = model.prior().log_prob(z) + likelihood - q
    stats = data["sample_stats"]
    found = torch.as_tensor(stats["log_weights"].values).flatten(0, 1)
    torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(stats["k_hat"].values, k_hat(found).numpy(), atol=1e-12)
    log_likelihood = torch.as_tensor(data["log_likelihood"]["x"].values).flatten(0, 1)
    torch.testing.assert_close(log_likelihood, likelihood, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(data["observed_data"]["x"].values, x.numpy())
    assert data["prior"]["z"].shape == (2, 40, 5, 2)
    assert abs(float(data["prior"]["z"].std()) - 1) < 0.1
    assert data["prior_predictive"]["x"].shape == data["posterior_predictive"]["x"].shape
    assert list(data["posterior"]["row"].values) == list("abcde")
    assert data["posterior"].attrs["guide"] == "Amortized"


def test_with_the_exact_posterior_every_weight_is_the_evidence():
    for model in (ProbabilisticPCA(6, latent=2), GaussianMixture(6, components=3)):
        model, x = model.double(), torch.randn(4, 6, dtype=torch.float64)
        data = to_inference_data(model, ExactPosterior(model), x, draws=5)
        exact = model.exact_log_evidence(x).detach().numpy()
        weights = data["sample_stats"]["log_weights"].values
        np.testing.assert_allclose(weights, np.broadcast_to(exact, weights.shape), atol=1e-10)
        assert (data["sample_stats"]["k_hat"].values == 0).all()


def test_rows_of_a_table_and_the_random_state():
    model, guide = VAE(6, latent=1, hidden=(8,)), PerDatapoint(9, 1)
    state = torch.get_rng_state()
    rows = {"index": torch.tensor([8, 0]), "size": 9}
    one = to_inference_data(model, guide, torch.rand(2, 6) * 0, draws=3, seed=5, **rows)
    torch.set_rng_state(state)
    same = to_inference_data(model, guide, torch.rand(2, 6) * 0, draws=3, seed=5, **rows)
    np.testing.assert_array_equal(one["posterior"]["z"].values, same["posterior"]["z"].values)
    np.testing.assert_array_equal(one["prior"]["z"].values, same["prior"]["z"].values)


def test_arviz_reads_it_as_it_stands(tmp_path):
    import arviz
    import matplotlib

    matplotlib.use("agg")
    model, x = ProbabilisticPCA(6, latent=2), torch.randn(4, 6)
    wide = Amortized(6, 2, hidden=(8,))
    data, other = (to_inference_data(model, q, x) for q in (ExactPosterior(model), wide))
    assert len(arviz.summary(data)) == 4 * 2
    assert set(arviz.compare({"exact": data, "wide": other}).index) == {"exact", "wide"}
    arviz.plot_posterior(data, coords={"row": [0]})
    arviz.plot_khat(other.sample_stats.k_hat)
    arviz.plot_ppc(data, num_pp_samples=5)
    matplotlib.pyplot.close("all")
    data.to_netcdf(str(tmp_path / "data.nc"))
    again = arviz.from_netcdf(str(tmp_path / "data.nc"))
    assert all(data[group].equals(again[group]) for group in data.groups())


def test_rows_of_one_number_have_no_features(number_a_row):
    """They were refused, for want of a dimension called feature."""
    x = torch.randn(5)
    data = to_inference_data(*number_a_row, x, draws=10)
    assert data["posterior_predictive"]["x"].dims == ("chain", "draw", "row")
    np.testing.assert_array_equal(data["observed_data"]["x"].values, x.numpy())
    log_weights = data["sample_stats"]["log_weights"].values
    exact = dist.Normal(0.0, 2**0.5).log_prob(x).numpy()
    np.testing.assert_allclose(log_weights, np.broadcast_to(exact, log_weights.shape), atol=1e-5)


def test_draws_of_a_guide_lie_left_of_the_plates_of_the_model():
    """They met a plate that the model has and the guide has not: a shape mismatch, or wrong weights."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.tensor(0.0), 1.0))
            with pyro.plate("repeats", 3, dim=-2):
                pyro.sample("y", dist.Normal(z, 1.0), obs=y)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def posterior(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal((x + y.sum(0)) / 5, 5**-0.5))

    x, y = torch.randn(6), torch.randn(3, 6)
    values = posterior_draws(posterior, x, model=model, num_particles=3)
    assert values["z"].shape == (3, 1, 6)
    drawn = replicate(model, values, x).observed
    assert drawn["y"].shape == (3, 3, 6)
    assert drawn["x"].shape[-1] == 6
    whole = torch.cat([y, x[None]]).mT
    exact = dist.MultivariateNormal(torch.zeros(4), torch.eye(4) + 1).log_prob(whole)
    layout = find_layout(model, posterior, (x,), {})
    joint = density(model, values, (x,), {}, layout=layout).joint
    log_q = density(posterior, values, (x,), {}, layout=layout).latent
    torch.testing.assert_close(joint - log_q, exact.expand(3, -1))


def test_bad_input_is_refused():
    model = GaussianMixture(6, components=3)
    with pytest.raises(ValueError, match="chains must be a whole number of at least 1; got 0"):
        to_inference_data(model, ExactPosterior(model), torch.zeros(2, 6), chains=0)
    with pytest.raises(ValueError, match="does not draw 'z'"):
        to_inference_data(model, lambda x: None, torch.zeros(2, 6))
    assert pyrovae.__version__


def of_noise(z_of):
    """A guide whose z is made of a number that the model has not."""

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            noise = pyro.sample("noise", dist.Normal(0 * x, 1.0), infer={"is_auxiliary": True})
            pyro.sample("z", z_of(0.5 * x + 0.5**0.5 * noise))

    return guide


def test_a_latent_made_of_noise_has_its_weights_and_the_prior_its_own_sites(number_a_row):
    """It was a KeyError; and where z is drawn once more, there is no weight."""
    model, x = number_a_row[0], torch.randn(4)
    made = of_noise(lambda z: dist.Delta(z, log_density=math.log(2.0**0.5)))
    data = to_inference_data(model, made, x, draws=5)
    exact = dist.Normal(0.0, 2**0.5).log_prob(x)
    weights = torch.as_tensor(data["sample_stats"]["log_weights"].values)
    torch.testing.assert_close(weights, exact.expand(weights.shape))
    assert (list(data["posterior"]), list(data["prior"])) == (["noise", "z"], ["z"])
    with pytest.raises(ValueError, match="auxiliary site 'noise' has no counterpart"):
        to_inference_data(model, of_noise(lambda z: dist.Normal(z, 1.0)), x, draws=5)


def test_dropout_draws_from_a_copy_of_the_random_state_and_bfloat16_is_written():
    model = VAE(6, latent=1, hidden=(8,))
    guide = Amortized(6, 1, hidden=(8,))
    guide.encoder.register_forward_hook(lambda module, x, y: torch.dropout(y, 0.1, True))
    state = torch.get_rng_state()
    x = torch.rand(2, 6).bfloat16()
    torch.set_rng_state(state)
    data = to_inference_data(model, guide, x, draws=3)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(data["observed_data"]["x"].values, x.float().numpy())


def test_data_that_do_not_depend_on_the_latents_are_drawn_as_often():
    """There was one draw of them where there were to be as many as of z."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.tensor(0.0), 1.0))
            pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.tensor(0.0), 1.0))

    data = to_inference_data(model, guide, torch.zeros(5, 3), draws=50)
    drawn = data["posterior_predictive"]["x"].values
    assert drawn.shape == (4, 50, 5, 3)
    assert abs(drawn.std() - 1.0) < 5 / (2 * drawn.size) ** 0.5
    assert len(np.unique(drawn)) > 0.99 * drawn.size
    found = predictive_check(model, guide, torch.zeros(5, 3)).p_values()
    assert found["standard deviation"] == 1.0
    with pytest.raises(ValueError, match="no latent that a guide draws"):
        predictive_check(
            lambda x: pyro.sample("x", dist.Normal(torch.zeros(5, 3), 1.0).to_event(2), obs=x),
            lambda x: None,
            torch.zeros(5, 3),
        )
