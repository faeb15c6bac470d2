"""What cannot be meant is refused, by name and with the remedy."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.guides import PerDatapoint
from pyrovae.models import ProbabilisticPCA
from pyrovae.objectives import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    PIWAE,
    TVO,
    VRIWAE,
    Averaged,
    Beta,
    FreeBits,
    Renyi,
    VRMax,
    WakeSleep,
)

OPTIONS = [
    (lambda: IWAE(num_particles=0), "num_particles must be a whole number of at least 1; got 0"),
    (lambda: ELBO(num_particles=2.5), r"num_particles must be .*got 2\.5"),
    (lambda: ELBO(num_particles=True), "num_particles must be .*got True"),
    (lambda: MIWAE(num_particles=6, groups=4), "groups is 4 and num_particles 6.*divides it"),
    (lambda: PIWAE(num_particles=6, groups=0), "groups is 0"),
    (lambda: Renyi(alpha=1), r"alpha is 1:.*for alpha = 1 use objectives\.ELBO"),
    (lambda: Renyi(alpha=1.0), r"use objectives\.ELBO"),
    (lambda: Renyi(alpha=math.nan), "alpha is nan"),
    (lambda: Renyi(alpha=math.inf), "alpha is inf"),
    (lambda: Renyi(alpha=-math.inf, gradient="dreg"), "use gradient='pathwise'"),
    (
        lambda: VRIWAE(alpha=1.0),
        r"alpha = 1 use objectives\.ELBO, for other orders objectives\.Renyi",
    ),
    (lambda: VRIWAE(alpha=-0.1), r"at least 0 and below 1"),
    (lambda: VRIWAE(alpha=math.nan), "alpha is nan"),
    (lambda: CIWAE(beta=1.5), r"beta is 1\.5.*objectives\.Beta"),
    (lambda: Beta(beta=-1), "beta is -1.*at least 0"),
    (lambda: Beta(beta=math.nan), "beta is nan"),
    (lambda: Beta(warm_up=-5), "warm_up -5"),
    (lambda: Beta(objective="WakeSleep"), "WakeSleep has no log-weights to temper: wrap ELBO"),
    (lambda: Beta(objective=TVO()), "TVO with gradient='dreg'"),
    (lambda: Beta(objective="Trace_ELBO"), "Trace_ELBO has no log-weights: wrap an objective of"),
    (lambda: Beta(objective="IWEA"), "did you mean IWAE"),
    (lambda: Averaged(repeats=0), "repeats must be a whole number of at least 1; got 0"),
    (lambda: Beta(objective=Averaged()), "Averaged has no log-weights to temper"),
    (lambda: FreeBits(nats=-0.1), r"nats is -0\.1"),
    (lambda: FreeBits(per="pixel"), "per is 'pixel': it must be 'dimension' or 'site'"),
    (lambda: TVO(partitions=0), "partitions is 0"),
    (lambda: TVO(beta_min=1.0), r"beta_min 1\.0"),
    (lambda: WakeSleep(insomnia=1.1), r"insomnia is 1\.1"),
    (lambda: IWAE(gradient="reinforce"), "IWAE knows pathwise, stl, dreg, score"),
    (lambda: VRMax(gradient="dreg"), "VRMax knows pathwise, stl, score"),
    (lambda: IWAE(baseline="none at all"), "the known ones are leave_one_out"),
    (lambda: ELBO(analytic_kl=True, gradient="stl"), "use gradient='pathwise'"),
]


@pytest.mark.parametrize(("make", "sentence"), OPTIONS)
def test_options_that_mean_nothing_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_options_of_an_objective_that_is_already_made_are_refused():
    with pytest.raises(TypeError, match="set it on the objective"):
        Beta(objective=IWAE(), gradient="dreg")


X = torch.randn(4)


def model(x):
    with pyro.plate("data", len(x), dim=-1):
        d = pyro.sample("d", dist.Bernoulli(0.5))
        z = pyro.sample("z", dist.Normal(d, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x, infer=None):
    with pyro.plate("data", len(x), dim=-1):
        d = pyro.sample("d", dist.Bernoulli(0.3), infer=infer)
        pyro.sample("z", dist.Normal(x - d, torch.tensor(1.0, requires_grad=True)))


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
@pytest.mark.parametrize("objective", [ELBO, IWAE, Renyi, MIWAE, PIWAE, TVO])
def test_a_gradient_that_a_site_cannot_take_is_refused_with_the_one_it_can(objective, gradient):
    made = objective(num_particles=2, gradient=gradient)
    with pytest.raises(ValueError, match="site 'd' carry none: use gradient='pathwise'"):
        made.differentiable_loss(model, guide, X)


def test_free_bits_need_draws_that_carry_a_gradient():
    with pytest.raises(ValueError, match="site 'd' carry none"):
        FreeBits().differentiable_loss(model, guide, X)


def test_draws_that_differ_in_what_they_depend_on_have_no_doubly_reparameterised_form():
    def both(x):
        with pyro.plate("data", len(x), dim=-1):
            d = pyro.sample("d", dist.Bernoulli(0.5))
            z = pyro.sample("z", dist.Normal(d, 1.0))
            pyro.sample("w", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def two(x):
        scale = torch.tensor(1.0, requires_grad=True)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x, scale))
            d = pyro.sample("d", dist.Bernoulli(logits=z), infer={"enumerate": "parallel"})
            pyro.sample("w", dist.Normal(d, scale))

    with pytest.raises(ValueError, match="depend on the same enumerated sites"):
        IWAE(num_particles=2, gradient="dreg").differentiable_loss(both, two, X)


def test_a_particle_plate_that_would_meet_a_plate_of_the_user_is_refused():
    """Its structure changes after the first call: an inner plate appears."""

    class Changing:
        inner = False

        def __call__(self, x):
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                if self.inner:
                    with pyro.plate("more", 2, dim=-2):
                        pyro.sample("x", dist.Normal(z, 1.0), obs=x.expand(2, len(x)))
                else:
                    pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def simple(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, 1.0))

    changing, objective = Changing(), IWAE(num_particles=3)
    objective.loss(changing, simple, X)
    changing.inner = True
    with pytest.raises(ValueError, match="take 2 dimensions, and took 1.*set max_plate_nesting=2"):
        objective.loss(changing, simple, X)
    IWAE(num_particles=3, max_plate_nesting=2).loss(changing, simple, X)


def test_programs_that_take_no_further_dimension_are_told_what_to_do():
    def narrow(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            (n,) = z.shape
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def simple(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x, 1.0))
            (n,) = z.shape

    with pytest.raises(ValueError, match="too many values to unpack") as caught:
        IWAE(num_particles=3).loss(narrow, simple, X)
    assert "set vectorize_particles=False on the objective" in caught.value.__notes__[0]
    IWAE(num_particles=3, vectorize_particles=False).loss(narrow, simple, X)


def test_a_data_plate_that_goes_away_is_refused():
    def changing(x, plate=True):
        if plate:
            with pyro.plate("data", len(x), dim=-1):
                return pyro.sample("z", dist.Normal(0.0, 1.0))
        return pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))

    objective = ELBO()
    objective.loss(changing, changing, X)
    with pytest.raises(
        ValueError, match="the structure of a program must not change between calls"
    ):
        objective.loss(changing, changing, X, plate=False)


def test_a_guide_that_misses_a_site_or_has_one_too_many_is_refused():
    def less(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("d", dist.Bernoulli(0.3))

    def more(x):
        guide(x)
        pyro.sample("extra", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="the guide misses the latent site 'z'"):
        IWAE(num_particles=2).loss(model, less, X)
    with pytest.raises(ValueError, match="has a site 'extra' that the model has not"):
        IWAE(num_particles=2).loss(model, more, X)


def test_a_guide_with_a_plate_of_another_size_is_refused():
    def other(x):
        guide(x[:1])

    with pytest.raises(ValueError, match="1 and 4 datapoints at different sites"):
        IWAE(num_particles=2).loss(model, other, X)


def test_dreams_need_to_know_where_the_data_go():
    def hidden(x):
        with pyro.plate("data", len(x), dim=-1):
            d = pyro.sample("d", dist.Bernoulli(0.5))
            z = pyro.sample("z", dist.Normal(d, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x + 0.0)

    with pytest.raises(ValueError, match=r"'x' is given a tensor that is no argument.*insomnia=1"):
        WakeSleep(num_particles=2, insomnia=0.5).differentiable_loss(hidden, guide, X)
    pca, table = ProbabilisticPCA(3, latent=2), PerDatapoint(4, 2)
    with pytest.raises(ValueError, match="a dream is no such row"):
        WakeSleep(num_particles=2, insomnia=0.5).differentiable_loss(pca, table, torch.randn(4, 3))


def test_an_objective_keeps_no_traces():
    with pytest.raises(TypeError, match="keep no traces"):
        next(iter(ELBO()._get_traces(model, guide, (X,), {})))
