"""Every gradient against another road to it: by closed form, by enumeration, or by the plain estimator.

The programs have parameters of their own for each of R identical datapoints, so that one backward pass
gives R independent estimates of the same gradient. Tests are paired, row by row; |z| must stay below 5.
"""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrovae import objectives
from pyrovae.objectives import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    PIWAE,
    TVO,
    VRIWAE,
    Beta,
    FreeBits,
    Renyi,
    WakeSleep,
)
from pyrovae.surrogates import weighing

R = 10_000
X = torch.tensor([1.5, -0.5], dtype=torch.float64)
ENUMERATE = {"enumerate": "parallel"}


@pytest.fixture
def few_rows(monkeypatch):
    """For tests with many particles."""
    monkeypatch.setitem(globals(), "R", 1_000)


def rows(*values):
    """The same numbers for each of R rows, as a parameter."""
    return nn.Parameter(torch.tensor(values, dtype=torch.float64).repeat(R, 1))


def gaussian():
    """z ~ N(theta, I), x ~ N(z, I), with a guide that is near the posterior."""
    theta, loc, log_scale = rows(0.2, -0.1), rows(0.5, 0.2), rows(-0.3, 0.1)

    def model(x):
        with pyro.plate("data", R, dim=-1):
            z = pyro.sample("z", dist.Normal(theta, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", R, dim=-1):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return model, guide, {"theta": theta, "loc": loc, "log_scale": log_scale}


def chain():
    """Two latents; the guide draws the second given the first, and the model the other way round."""
    theta, loc, slope = rows(0.2), rows(0.5), rows(0.4, -0.2)

    def model(x):
        with pyro.plate("data", R, dim=-1):
            b = pyro.sample("b", dist.Normal(theta[:, 0], 1.0))
            a = pyro.sample("a", dist.Normal(b, 0.7))
            pyro.sample("x", dist.Normal(torch.stack([a, a * b], -1), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", R, dim=-1):
            a = pyro.sample("a", dist.Normal(loc[:, 0], 0.8))
            pyro.sample("b", dist.Normal(slope[:, 0] * a + slope[:, 1], (0.3 * a).exp()))

    return model, guide, {"theta": theta, "loc": loc, "slope": slope}


def discrete():
    """A category drawn by the guide, and nothing else."""
    theta, logits = rows(0.2, -0.4, 0.1), rows(0.5, 0.0, -0.5)

    def model(x):
        with pyro.plate("data", R, dim=-1):
            d = pyro.sample("d", dist.Categorical(logits=theta))
            pyro.sample("x", dist.Normal(d.double(), 1.0), obs=x[0])

    def guide(x):
        with pyro.plate("data", R, dim=-1):
            pyro.sample("d", dist.Categorical(logits=logits))

    return model, guide, {"theta": theta, "logits": logits}


def mixed(discrete_first=True, infer=None):
    """A category and a normal, one drawn given the other."""
    theta, logit, loc = rows(0.2), rows(0.3), rows(0.4, -0.3)

    def model(x):
        with pyro.plate("data", R, dim=-1):
            d = pyro.sample("d", dist.Bernoulli(logits=theta[:, 0]))
            z = pyro.sample("z", dist.Normal(d, 1.0))
            pyro.sample("x", dist.Normal(z - 0.5 * d, 1.0), obs=x[0])

    def guide(x):
        with pyro.plate("data", R, dim=-1):
            if discrete_first:
                d = pyro.sample("d", dist.Bernoulli(logits=logit[:, 0]), infer=infer)
                pyro.sample("z", dist.Normal(loc[:, 0] + d * loc[:, 1], 0.8))
            else:
                z = pyro.sample("z", dist.Normal(loc[:, 0], 0.8))
                pyro.sample("d", dist.Bernoulli(logits=logit[:, 0] + loc[:, 1] * z), infer=infer)

    return model, guide, {"theta": theta, "logit": logit, "loc": loc}


def estimates(objective, programs, names=None, seed=0):
    """R estimates of the gradient of the bound by the named parameters, (R, coordinates)."""
    model, guide, parameters = programs
    torch.manual_seed(seed)
    loss = objective.differentiable_loss(model, guide, X)
    chosen = [parameters[name] for name in names or parameters]
    found = torch.autograd.grad(-loss, chosen, allow_unused=True)
    return torch.cat([torch.zeros_like(p) if g is None else g for p, g in zip(chosen, found)], -1)


def largest_z(sample, truth=0.0):
    """The largest |z| over coordinates of the mean of rows against a number; 0 where both agree."""
    error = sample.std(0) / len(sample) ** 0.5
    difference = sample.mean(0) - truth
    return (difference.abs() / error.clamp(min=1e-12)).max().item()


def paired(one, other, programs, names=None):
    return largest_z(estimates(one, programs, names) - estimates(other, programs, names))


GUIDE = ["loc", "log_scale"]


@pytest.mark.parametrize("num_particles", [1, 8, 64])
@pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0])
def test_doubly_reparameterised_gradients_are_unbiased(alpha, num_particles, monkeypatch):
    """More draws in scripts/gradients.py."""
    monkeypatch.setitem(globals(), "R", min(R, 200_000 // num_particles))
    plain = Renyi(alpha=alpha, num_particles=num_particles)
    dreg = Renyi(alpha=alpha, num_particles=num_particles, gradient="dreg")
    assert paired(dreg, plain, gaussian()) < 5


@pytest.mark.parametrize("programs", [gaussian, chain])
@pytest.mark.parametrize(
    ("objective", "options"),
    [
        (ELBO, {}),
        (IWAE, {}),
        (VRIWAE, {"alpha": 0.3}),
        (MIWAE, {"groups": 2}),
        (CIWAE, {"beta": 0.3}),
        (TVO, {}),
    ],
)
def test_every_objective_has_unbiased_doubly_reparameterised_gradients(
    objective, options, programs
):
    made = programs()
    plain = objective(num_particles=6, gradient="pathwise", **options)
    assert paired(objective(num_particles=6, gradient="dreg", **options), plain, made) < 5


def in_an_inner_plate():
    """A vector for each of three parts of a datapoint, in a plate left of that of the data."""
    theta, loc = rows(0.2), rows(0.5, -0.3)

    def model(x):
        with pyro.plate("data", R, dim=-1), pyro.plate("parts", 3, dim=-2):
            z = pyro.sample("z", dist.Normal(theta.expand(3, R, 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", R, dim=-1), pyro.plate("parts", 3, dim=-2):
            pyro.sample("z", dist.Normal(loc.expand(3, R, 2), 0.8).to_event(1))

    return model, guide, {"theta": theta, "loc": loc}


@pytest.mark.parametrize("num_particles", [1, 4])
@pytest.mark.parametrize("programs", [gaussian, in_an_inner_plate])
def test_one_way_back_through_the_model_is_as_good_as_two(programs, num_particles, few_rows):
    """Where the guide draws one site, the model's gradient is taken once and weighed at the draw."""

    class Twice(Renyi):
        draws = "leaves"

    made = programs()
    for gradient in ("stl", "dreg"):
        once, twice = (
            kind(alpha=0.3, num_particles=num_particles, gradient=gradient)
            for kind in (Renyi, Twice)
        )
        found = once.run(*made[:2], (X,), {}, draws=once.draws).draws["z"]
        assert found.ported
        torch.testing.assert_close(estimates(once, made), estimates(twice, made))


@pytest.mark.parametrize("num_particles", [1, 6])
def test_sticking_the_landing_is_unbiased_for_the_elbo(num_particles):
    plain = ELBO(num_particles=num_particles)
    stl = ELBO(num_particles=num_particles, gradient="stl")
    assert paired(stl, plain, chain()) < 5


def test_sticking_the_landing_is_biased_for_several_particles():
    """The planted mistake that the tests of unbiasedness must reject."""
    plain, stl = IWAE(num_particles=8), IWAE(num_particles=8, gradient="stl")
    assert paired(stl, plain, gaussian(), GUIDE) > 5


@pytest.mark.parametrize("programs", [gaussian, chain])
@pytest.mark.parametrize("objective", [ELBO(num_particles=1), IWAE(num_particles=4)])
def test_score_functions_agree_with_paths(objective, programs):
    made = programs()
    score = type(objective)(num_particles=objective.num_particles, gradient="score")
    assert paired(score, objective, made) < 5


@pytest.mark.parametrize("baseline", ["none", "moving_average", "leave_one_out"])
def test_baselines_add_no_bias(baseline):
    score = IWAE(num_particles=3, gradient="score", baseline=baseline)
    made = gaussian()
    estimates(score, made, seed=5)  # fills the moving average
    assert paired(score, IWAE(num_particles=3), made) < 5


def test_baselines_lower_the_variance():
    made = discrete()
    spread = {}
    for baseline in ("none", "moving_average", "leave_one_out"):
        score = IWAE(num_particles=4, baseline=baseline)
        estimates(score, made, seed=5)
        spread[baseline] = estimates(score, made, ["logits"]).var(0).sum()
    assert spread["leave_one_out"] < 0.3 * spread["none"]
    assert spread["moving_average"] < 0.9 * spread["none"]


DISCRETE = [
    (ELBO, 1, {}),
    (ELBO, 3, {}),
    (IWAE, 1, {}),
    (IWAE, 3, {}),
    (Renyi, 2, {"alpha": -1.0}),
    (Renyi, 3, {"alpha": 0.5}),
    (MIWAE, 4, {"groups": 2}),
    (CIWAE, 3, {"beta": 0.5}),
    (TVO, 3, {"gradient": "score"}),
]


def enumerated_gradient(objective, num_particles):
    """The exact gradient of the bound's expectation over all tuples of K categories."""
    _, _, parameters = discrete()
    theta, logits = (parameters[n][0].detach().requires_grad_() for n in ("theta", "logits"))
    d = torch.arange(3)
    log_q = logits.log_softmax(-1)
    log_p = theta.log_softmax(-1) + dist.Normal(d.double(), 1.0).log_prob(X[0])
    total = 0.0
    for combination in itertools.product(range(3), repeat=num_particles):
        chosen = torch.tensor(combination)
        weights = (log_p - log_q)[chosen, None]
        total = total + log_q[chosen].sum().exp() * objective.bound(weights).squeeze()
    return torch.cat(torch.autograd.grad(total, [theta, logits]))


@pytest.mark.parametrize(("objective", "num_particles", "options"), DISCRETE)
def test_discrete_guides_have_the_gradient_of_full_enumeration(objective, num_particles, options):
    made = objective(num_particles=num_particles, **options)
    exact = enumerated_gradient(made, num_particles)
    sample = estimates(made, discrete())
    assert largest_z(sample, exact) < 5
    assert exact[3:].abs().max() > 1e-3
    assert largest_z(sample[:, 3:]) > 5  # not zero


def test_a_score_without_its_baseline_left_in_would_be_seen():
    """The twin: a baseline that depends on the particle it is subtracted from."""

    class Leaky(IWAE):
        def guide_bound(self, log_weights):
            return log_weights.logsumexp(0) + 0.3 * log_weights[0]

    exact = enumerated_gradient(IWAE(num_particles=3), 3)
    assert largest_z(estimates(Leaky(num_particles=3), discrete()), exact) > 5


@pytest.mark.parametrize("discrete_first", [True, False])
@pytest.mark.parametrize("objective", [ELBO, IWAE])
def test_mixed_guides_agree_with_score_functions_everywhere(objective, discrete_first):
    made = mixed(discrete_first)
    both = objective(num_particles=4)
    assert paired(objective(num_particles=4, gradient="score"), both, made) < 5


@pytest.mark.parametrize("discrete_first", [True, False])
def test_what_the_guide_enumerates_has_the_gradient_of_drawing_it(discrete_first):
    drawn = estimates(ELBO(num_particles=2), mixed(discrete_first), seed=1)
    listed = mixed(discrete_first, infer=ENUMERATE)
    for gradient in ("pathwise", "stl", "score"):
        sample = estimates(ELBO(num_particles=2, gradient=gradient), listed)
        assert largest_z(sample - drawn) < 5


@pytest.mark.parametrize("discrete_first", [True, False])
@pytest.mark.parametrize("objective", [IWAE(num_particles=4), Renyi(alpha=0.5, num_particles=4)])
def test_enumerated_sites_go_with_doubly_reparameterised_ones(objective, discrete_first):
    made = mixed(discrete_first, infer=ENUMERATE)
    options = {"alpha": objective.alpha} if isinstance(objective, Renyi) else {}
    dreg = type(objective)(num_particles=4, gradient="dreg", **options)
    assert paired(dreg, objective, made) < 5


def test_draws_that_depend_on_some_of_what_is_enumerated():
    """z given one of two enumerated categories: its draws are shared by the values of the other."""
    theta, logit, loc = rows(0.2), rows(0.3, -0.4), rows(0.4, -0.3)

    def model(x):
        with pyro.plate("data", R, dim=-1):
            a = pyro.sample("a", dist.Bernoulli(logits=theta[:, 0]))
            b = pyro.sample("b", dist.Bernoulli(logits=a))
            z = pyro.sample("z", dist.Normal(a - b, 1.0))
            pyro.sample("x", dist.Normal(z - 0.5 * b, 1.0), obs=x[0])

    def guide(x):
        with pyro.plate("data", R, dim=-1):
            pyro.sample("b", dist.Bernoulli(logits=logit[:, 1]), infer=ENUMERATE)
            a = pyro.sample("a", dist.Bernoulli(logits=logit[:, 0]), infer=ENUMERATE)
            pyro.sample("z", dist.Normal(loc[:, 0] + a * loc[:, 1], 0.8))

    made = model, guide, {"theta": theta, "logit": logit, "loc": loc}
    assert paired(IWAE(num_particles=4, gradient="dreg"), IWAE(num_particles=4), made) < 5


@pytest.mark.parametrize("inner", [ELBO, IWAE])
@pytest.mark.parametrize("make", [gaussian, lambda: mixed(infer=ENUMERATE)])
def test_tempered_gradients_agree(inner, make):
    made = make()
    plain = Beta(objective=inner(num_particles=4), beta=0.4)
    for gradient in ("dreg", "score"):
        other = Beta(objective=inner(num_particles=4, gradient=gradient), beta=0.4)
        assert paired(other, plain, made) < 5


def test_the_weight_of_the_divergence_is_what_it_says():
    """The gradient of E log p(x | z) - beta KL, known in closed form."""
    made = gaussian()
    for beta in (0.0, 0.5, 3.0):
        theta, loc, log_scale = (p[0].detach().requires_grad_() for p in made[2].values())
        q, p = dist.Normal(loc, log_scale.exp()), dist.Normal(theta, 1.0)
        fit = dist.Normal(loc, 1.0).log_prob(X).sum() - 0.5 * (2 * log_scale).exp().sum()
        target = fit - beta * torch.distributions.kl_divergence(q, p).sum()
        exact = torch.cat(torch.autograd.grad(target, [theta, loc, log_scale]))
        for analytic in (False, True):
            objective = Beta(objective=ELBO(analytic_kl=analytic), beta=beta)
            assert largest_z(estimates(objective, made), exact) < 5


def test_warm_up_rises_in_a_straight_line_and_the_value_stays_the_bound():
    made = gaussian()
    beta = Beta(beta=2.0, warm_up=4)
    weights = []
    for _ in range(6):
        weights.append(beta.weight().item())
        torch.manual_seed(0)
        loss = beta.differentiable_loss(*made[:2], X)
        torch.manual_seed(0)
        assert loss.item() == ELBO().differentiable_loss(*made[:2], X).item()
    assert weights == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]
    beta.loss(*made[:2], X)
    assert beta.steps == 6
    again = Beta(beta=2.0, warm_up=4)
    again.load_state(beta.state())
    assert again.weight() == 2.0


def test_closed_form_divergences_change_no_expectation():
    for make in (gaussian, chain, lambda: mixed(infer=ENUMERATE)):
        made = make()
        assert paired(ELBO(num_particles=2, analytic_kl=True), ELBO(num_particles=2), made) < 5
        assert paired(ELBO(analytic_kl=True, gradient="score"), ELBO(), made) < 5


def test_closed_form_divergences_lower_the_variance():
    made = gaussian()
    plain = estimates(ELBO(), made, ["theta"]).var(0).sum()
    assert estimates(ELBO(analytic_kl=True), made, ["theta"]).var(0).sum() < 1e-12 < plain


def test_free_bits_stop_the_gradient_of_small_divergences():
    theta, loc = rows(0.0, 0.0), rows(0.01, 3.0)

    def model(x):
        with pyro.plate("data", R, dim=-1):
            pyro.sample("z", dist.Normal(theta, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(torch.zeros(R, 2), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", R, dim=-1):
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    made = model, guide, {"theta": theta, "loc": loc}
    by_dimension = estimates(FreeBits(nats=0.5, per="dimension"), made, ["loc"])
    torch.testing.assert_close(by_dimension[0], torch.tensor([0.0, -3.0], dtype=torch.float64))
    by_site = estimates(FreeBits(nats=0.5, per="site"), made, ["loc"])
    torch.testing.assert_close(by_site[0], torch.tensor([-0.01, -3.0], dtype=torch.float64))
    assert not estimates(FreeBits(nats=50.0, per="site"), made, ["loc"]).any()


def test_the_model_of_piwae_is_that_of_iwae_and_the_guide_that_of_miwae():
    made = gaussian()
    for gradient in ("pathwise", "dreg", "stl", "score"):
        both = PIWAE(num_particles=6, groups=3, gradient=gradient)
        whole = IWAE(num_particles=6, gradient=gradient)
        parts = MIWAE(num_particles=6, groups=3, gradient=gradient)
        torch.testing.assert_close(
            estimates(both, made, ["theta"]), estimates(whole, made, ["theta"])
        )
        torch.testing.assert_close(estimates(both, made, GUIDE), estimates(parts, made, GUIDE))
    made = mixed()
    one, other = PIWAE(num_particles=6, groups=3), MIWAE(num_particles=6, groups=3)
    torch.testing.assert_close(
        estimates(one, made, ["logit", "loc"]), estimates(other, made, ["logit", "loc"])
    )


def test_the_covariance_gradient_is_that_of_the_exact_riemann_sum(few_rows):
    """With many particles, against the sum computed by enumeration."""
    made = discrete()
    theta, logits = (made[2][n][0].detach().requires_grad_() for n in ("theta", "logits"))
    tvo = TVO(num_particles=500)
    log_q = logits.log_softmax(-1)
    log_p = theta.log_softmax(-1) + dist.Normal(torch.arange(3.0).double(), 1.0).log_prob(X[0])
    total = 0.0
    for beta, step in zip(tvo.partition, tvo.partition.diff()):
        between = (beta * log_p + (1 - beta) * log_q).softmax(-1)
        total = total + step * (between * (log_p - log_q)).sum()
    exact = torch.cat(torch.autograd.grad(total, [theta, logits]))
    sample = estimates(tvo, made)
    bias = 5 / 500  # of self-normalised weights, which vary by less than 5 here
    error = sample.std(0) / R**0.5
    assert ((sample.mean(0) - exact).abs() < 5 * error + bias * exact.abs().max()).all()
    assert exact.abs().max() > 0.05


def test_wake_theta_is_the_model_gradient_of_the_iwae():
    made = gaussian()
    torch.testing.assert_close(
        estimates(WakeSleep(num_particles=5), made, ["theta"]),
        estimates(IWAE(num_particles=5), made, ["theta"]),
    )


def test_wake_phi_descends_the_divergence_from_the_posterior(few_rows):
    """With many particles, against E under the exact posterior of the score of the guide."""
    made = gaussian()
    theta, loc, log_scale = (p[0].detach() for p in made[2].values())
    mean = (theta + X) / 2
    scale = log_scale.exp()
    exact_loc = (mean - loc) / scale**2
    exact_scale = (0.5 + (mean - loc) ** 2) / scale**2 - 1
    sample = estimates(WakeSleep(num_particles=400), made, GUIDE)
    exact = torch.cat([exact_loc, exact_scale])
    error = sample.std(0) / R**0.5
    assert ((sample.mean(0) - exact).abs() < 5 * error + 5 / 400).all()


def dreaming():
    """The programs above, reading x row by row, so that a dream can take its place."""
    theta, slope, log_scale = rows(0.2, -0.1), rows(0.5, 0.2), rows(-0.3, 0.1)

    def model(x):
        with pyro.plate("data", R, dim=-1):
            z = pyro.sample("z", dist.Normal(theta, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", R, dim=-1):
            pyro.sample("z", dist.Normal(slope * x, log_scale.exp()).to_event(1))

    return model, guide, {"theta": theta, "slope": slope, "log_scale": log_scale}


def test_sleep_phi_learns_from_dreams():
    """E over p(x, z) of the score of q(z | x), in closed form."""
    model, guide, parameters = dreaming()
    theta, slope, log_scale = (p[0].detach() for p in parameters.values())
    loss = WakeSleep(num_particles=1, insomnia=0.0).differentiable_loss(
        model, guide, X.repeat(R, 1)
    )
    found = torch.autograd.grad(-loss, [parameters["slope"], parameters["log_scale"]])
    variance = (2 * log_scale).exp()
    # z = theta + e, x = z + f: E x (z - a x) and E (z - a x)^2
    cross = (theta**2 + 1) - slope * (theta**2 + 2)
    square = (theta**2 + 1) - 2 * slope * (theta**2 + 1) + slope**2 * (theta**2 + 2)
    exact = torch.cat([cross / variance, square / variance - 1])
    assert largest_z(torch.cat(found, -1), exact) < 5


@pytest.mark.parametrize("insomnia", [1.0, 0.3, 0.0])
def test_wake_sleep_is_scaled_outside_the_weights(insomnia):
    loc, weight = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.eye(2))
    x, index = torch.randn(4, 2), torch.tensor([1, 7, 2, 9])

    def program(size):
        def model(x):
            with pyro.plate("data", size, subsample=index if size > 4 else None, dim=-1):
                z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        def guide(x):
            with pyro.plate("data", size, subsample=index if size > 4 else None, dim=-1):
                pyro.sample("z", dist.Normal(x @ weight, 1.0).to_event(1))

        torch.manual_seed(0)
        objective = WakeSleep(num_particles=3, insomnia=insomnia)
        return torch.autograd.grad(objective.differentiable_loss(model, guide, x), [loc, weight])

    for whole, part in zip(program(4), program(20)):
        torch.testing.assert_close(5 * whole, part)


@pytest.mark.parametrize("num_particles", [1, 4])
@pytest.mark.parametrize(
    "objective",
    [
        ELBO(),
        IWAE(),
        Renyi(alpha=-2.0),
        Renyi(alpha=0.7),
        VRIWAE(alpha=0.4),
        MIWAE(num_particles=4, groups=1),
        CIWAE(beta=0.3),
        TVO(),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_closed_forms_agree_with_automatic_differentiation(objective, num_particles):
    weights = torch.randn(num_particles, 3, dtype=torch.float64)
    torch.testing.assert_close(
        objective.coefficients(weights), weighing.coefficients(objective.bound, weights)
    )
    torch.testing.assert_close(
        objective.dreg_coefficients(weights),
        weighing.dreg_coefficients(objective.bound, weights),
    )


@pytest.mark.parametrize("name", objectives.__all__)
def test_bounds_take_any_shape_behind_the_particles(name):
    """What the leave-one-out baseline needs, for the particles of all sets at once."""
    objective = getattr(objectives, name)()
    weights = torch.randn(10, 3, 4)
    each = torch.stack([objective.bound(weights[:, i]) for i in range(3)])
    torch.testing.assert_close(objective.bound(weights), each)
