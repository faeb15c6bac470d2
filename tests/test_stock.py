"""Pyro's own losses: the same where they are right, and shown to be wrong where this package warns."""

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from torch import nn

from pyrovae import SVI
from pyrovae.guides import Amortized, ExactPosterior
from pyrovae.models import VAE, GaussianMixture, ProbabilisticPCA
from pyrovae.objectives import ELBO, IWAE, Renyi
from pyrovae.stock import problem, warn_if_no_bound

N, B = 40, 8


def pair(dtype=torch.float64):
    model, guide = ProbabilisticPCA(3, latent=2), Amortized(3, 2, hidden=(4,))
    return model.to(dtype), guide.to(dtype)


def seeded(function, *args, **kwargs):
    torch.manual_seed(3)
    return function(*args, **kwargs)


X = torch.randn(B, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gradients(loss, model, guide, **kwargs):
    """Of a stock loss or one of this package, after the same draws."""
    for module in (model, guide):
        module.zero_grad()
    seeded(loss.loss_and_grads, model, guide, X, **kwargs)
    return [p.grad.clone() for module in (model, guide) for p in module.parameters()]


def vectorised(part, **options):
    return part(vectorize_particles=True, max_plate_nesting=1, **options)


SAME = [
    (ELBO(), Trace_ELBO()),
    (ELBO(num_particles=5), vectorised(Trace_ELBO, num_particles=5)),
    (ELBO(num_particles=5, vectorize_particles=False), Trace_ELBO(num_particles=5)),
    (
        ELBO(num_particles=5, analytic_kl=True),
        vectorised(TraceMeanField_ELBO, num_particles=5),
    ),
    (IWAE(num_particles=5), vectorised(RenyiELBO, alpha=0.0, num_particles=5)),
    (Renyi(alpha=0.5, num_particles=5), vectorised(RenyiELBO, alpha=0.5, num_particles=5)),
    (Renyi(alpha=-1.0, num_particles=5), vectorised(RenyiELBO, alpha=-1.0, num_particles=5)),
    (
        Renyi(alpha=2.0, num_particles=5, vectorize_particles=False),
        RenyiELBO(alpha=2.0, num_particles=5),
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), SAME)
def test_values_and_gradients_are_those_of_pyro_where_pyro_is_right(ours, theirs):
    model, guide = pair()
    assert seeded(ours.loss, model, guide, X) == pytest.approx(
        seeded(theirs.loss, model, guide, X), abs=1e-10
    )
    for here, there in zip(gradients(ours, model, guide), gradients(theirs, model, guide)):
        torch.testing.assert_close(here, there, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("ours", "theirs"), SAME[:3])
def test_so_they_are_on_a_subsample(ours, theirs):
    model, guide = pair()
    kwargs = {"index": torch.arange(B), "size": N}
    assert seeded(ours.loss, model, guide, X, **kwargs) == pytest.approx(
        seeded(theirs.loss, model, guide, X, **kwargs), abs=1e-10
    )
    for here, there in zip(
        gradients(ours, model, guide, **kwargs), gradients(theirs, model, guide, **kwargs)
    ):
        torch.testing.assert_close(here, there, atol=1e-10, rtol=1e-10)


def test_an_enumerated_guide_has_the_gradient_that_pyro_gives_it():
    model = GaussianMixture(3, components=4).double()
    guide = Amortized(3, 4, hidden=(5,), family="categorical").double()

    def enumerating(x):
        with pyro.plate("data", len(x), dim=-1):
            q = guide.family.distribution(guide.encoder(x))
            pyro.sample("z", q, infer={"enumerate": "parallel"})

    modules = [model, guide]
    found = []
    for loss in (ELBO(), TraceEnum_ELBO(max_plate_nesting=1)):
        for module in modules:
            module.zero_grad()
        value = loss.loss_and_grads(model, enumerating, X)
        found.append([value] + [p.grad.clone() for m in modules for p in m.parameters()])
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-10)
    for here, there in zip(found[0][1:], found[1][1:]):
        torch.testing.assert_close(here, there, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("objective", [ELBO(), IWAE(num_particles=3, gradient="dreg")])
@pytest.mark.parametrize("make", [pair, lambda: (VAE(3, latent=2), Amortized(3, 2))])
def test_stock_svi_trains_with_objectives_of_this_package(objective, make):
    model, guide = make()
    x = X.to(next(model.parameters()).dtype)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), loss=objective)
    before = [p.detach().clone() for module in (model, guide) for p in module.parameters()]
    losses = torch.tensor([svi.step(x) for _ in range(40)])
    after = [p for module in (model, guide) for p in module.parameters()]
    assert all((a != b).any() for a, b in zip(before, after))
    assert losses[20:].median() < losses[:20].median()
    assert len(pyro.get_param_store()) == 0


def test_objectives_are_modules_for_torch_optimizers():
    model, guide = pair()
    module = IWAE(num_particles=3)(model, guide)
    assert isinstance(module, nn.Module)
    assert {id(p) for p in module.parameters()} == {
        id(p) for m in (model, guide) for p in m.parameters()
    }
    module(X).backward()
    assert all(p.grad is not None for p in module.parameters())


def exact_programs(size=640, batch=64):
    """z ~ N(0, 1), x ~ N(z, 1), the posterior as guide, on a subsample that Pyro draws."""
    data = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def model():
        with pyro.plate("data", size, subsample_size=batch, dim=-1) as rows:
            z = pyro.sample("z", dist.Normal(torch.zeros(()).double(), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=data[rows])

    def guide():
        with pyro.plate("data", size, subsample_size=batch, dim=-1) as rows:
            pyro.sample("z", dist.Normal(data[rows] / 2, 0.5**0.5))

    return model, guide, dist.Normal(torch.zeros(()).double(), 2**0.5).log_prob(data)


def test_the_default_loop_of_stock_renyi_redraws_the_subsample_and_ours_does_not():
    model, guide, each = exact_programs()
    exact = each.sum().item()
    stock = RenyiELBO(alpha=0.0, num_particles=50)
    assert -seeded(stock.loss, model, guide) > exact + 100
    for vectorize in (True, False):
        ours = IWAE(num_particles=5, vectorize_particles=vectorize)
        torch.manual_seed(4)
        rows = torch.randperm(640)[:64]
        torch.manual_seed(4)
        assert -ours.loss(model, guide) == pytest.approx(10 * each[rows].sum().item(), abs=1e-9)


def test_stock_renyi_on_a_scaled_plate_is_above_the_evidence():
    x = X[:, 0]

    def model():
        with pyro.plate("data", 10 * B, subsample=torch.arange(B), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(()).double(), 1.0))
            pyro.sample("x", dist.Normal(z, 0.3), obs=x)

    def guide():
        with pyro.plate("data", 10 * B, subsample=torch.arange(B), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(()).double(), 1.0))

    exact = 10 * dist.Normal(0.0, 1.09**0.5).log_prob(x).sum().item()
    stock = vectorised(RenyiELBO, alpha=0.0, num_particles=100)
    assert -seeded(stock.loss, model, guide) > exact + 20
    losses = torch.tensor([IWAE(num_particles=100).loss(model, guide) for _ in range(100)])
    assert -losses.mean() < exact + 5 * losses.std() / 10


def test_stock_renyi_gives_discrete_draws_no_gradient_and_ours_does():
    logit = nn.Parameter(torch.tensor(0.3))

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            d = pyro.sample("d", dist.Bernoulli(0.5 * torch.ones(len(x))))
            pyro.sample("x", dist.Normal(d, 1.0), obs=x)

    def guide(x):
        pyro.param("logit", logit)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("d", dist.Bernoulli(logits=logit.expand(len(x))))

    stock = vectorised(RenyiELBO, alpha=0.0, num_particles=5)
    stock.loss_and_grads(model, guide, torch.ones(B))
    assert logit.grad is None or logit.grad == 0
    IWAE(num_particles=5).loss_and_grads(model, guide, torch.ones(B))
    assert logit.grad != 0
    assert "a gradient of exactly zero" in problem(stock, model, guide, torch.ones(B))


def shared(x):
    """A mean shared by all datapoints, outside the plate."""

    def model():
        mean = pyro.sample("mean", dist.Normal(torch.zeros(()).double(), 1.0))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(mean, 1.0))
            pyro.sample("x", dist.Normal(z, 0.3), obs=x)

    def guide():
        mean = pyro.sample("mean", dist.Normal(x.mean(), 0.1))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(mean, 1.0))

    return model, guide


def test_stock_renyi_with_a_shared_latent_is_far_looser_than_ours():
    x = torch.randn(64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    model, guide = shared(x)
    losses = {"stock": vectorised(RenyiELBO, alpha=0.0, num_particles=100)}
    losses["ours"] = IWAE(num_particles=100)
    mean = {
        k: torch.tensor([loss.loss(model, guide) for _ in range(20)]).mean()
        for k, loss in losses.items()
    }
    assert -mean["stock"] < -mean["ours"] - 10
    assert "shared by all datapoints" in problem(losses["stock"], model, guide)


def test_stock_renyi_cannot_be_a_module_and_ours_can():
    model, guide = pair()
    with pytest.raises(AttributeError):
        RenyiELBO(num_particles=2)(model, guide)(X)
    assert Renyi(num_particles=2)(model, guide)(X).requires_grad


def test_a_stock_loss_that_is_no_bound_is_warned_of_with_the_one_to_use():
    model, guide = pair()
    stock = RenyiELBO(alpha=0.5, num_particles=7)
    with pytest.warns(UserWarning, match=r"Renyi\(alpha=0.5, num_particles=7\)"):
        warn_if_no_bound(stock, model, guide, X, index=torch.arange(B), size=N)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_no_bound(stock, model, guide, X)
        warn_if_no_bound(Trace_ELBO(), model, guide, X, index=torch.arange(B), size=N)
        warn_if_no_bound(Renyi(), model, guide, X, index=torch.arange(B), size=N)
        exact = ProbabilisticPCA(3, latent=2).double()
        warn_if_no_bound(RenyiELBO(alpha=0.0, num_particles=3), exact, ExactPosterior(exact), X)


def test_the_first_step_on_a_subsample_warns_of_stock_renyi():
    model, guide = pair()
    for loss, wrong in ((RenyiELBO(num_particles=2), True), (Renyi(num_particles=2), False)):
        svi = SVI(model, guide, lambda p: torch.optim.Adam(p, lr=1e-3), loss=loss)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(2):
                svi.step(X, index=torch.arange(B), size=N)
        assert sum("is no bound here" in str(w.message) for w in seen) == wrong


def test_modules_with_the_same_names_keep_their_own_parameters():
    one, other = pair(), pair()
    losses = [seeded(ELBO().loss, *programs, X) for programs in (one, other)]
    assert losses[0] != losses[1]
    assert losses == [seeded(ELBO().loss, *programs, X) for programs in (one, other)]
