"""The waist on programs of every kind, held against Pyro's own losses where those are right."""

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as T
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
from pyro.nn import PyroModule
from torch import nn

from pyrovae import log_weights
from pyrovae.models import ProbabilisticPCA
from pyrovae.objectives import ELBO, IWAE
from pyrovae.waist.sites import find_layout

B = 5
ENUMERATE = {"enumerate": "parallel"}


def double(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X = double(B)


def normal(loc, scale=1.0):
    return dist.Normal(torch.as_tensor(loc, dtype=torch.float64), scale)


# Each program takes x, and is a pair (model, guide).


def several():
    """Two latents, drawn by the guide in the other order, each given the first drawn."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            a = pyro.sample("a", normal(0.0))
            b = pyro.sample("b", normal(a, 0.5))
            pyro.sample("x", normal(a + b), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            b = pyro.sample("b", normal(x / 3))
            pyro.sample("a", normal(b / 2))

    return model, guide


def inner_plate_left():
    """The data plate at dim -1, a plate inside it at dim -2."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal(0.0))
            with pyro.plate("pixels", 3, dim=-2):
                w = pyro.sample("w", normal(z))
                pyro.sample("x", normal(w), obs=x + torch.arange(3.0)[:, None])

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", normal(x / 3))
            with pyro.plate("pixels", 3, dim=-2):
                pyro.sample("w", normal(x, 2.0))

    return model, guide


def inner_plate_right():
    """The data plate at dim -2, a plate inside it at dim -1."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", normal(0.0))
            with pyro.plate("pixels", 3, dim=-1):
                w = pyro.sample("w", normal(z))
                pyro.sample("x", normal(w), obs=x[:, None] + torch.arange(3.0))

    def guide(x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", normal(x[:, None] / 3))
            with pyro.plate("pixels", 3, dim=-1):
                pyro.sample("w", normal(x[:, None], 2.0))

    return model, guide


def masked():
    """Some datapoints without an observation, and one that is masked as a whole."""
    seen = torch.tensor([True, False, True, True, False])
    whole = torch.tensor([True, True, True, True, False])

    def model(x):
        with pyro.plate("data", len(x), dim=-1), poutine.mask(mask=whole):
            z = pyro.sample("z", normal(0.0))
            pyro.sample("x", normal(z).mask(seen), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1), poutine.mask(mask=whole):
            pyro.sample("z", normal(x / 3))

    return model, guide


def enumerated_inside():
    """A discrete site inside an inner plate, summed out in the model."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal(0.0))
            with pyro.plate("pixels", 3, dim=-2):
                logits = torch.stack([z, -z, 0 * z], -1)
                y = pyro.sample("y", dist.Categorical(logits=logits), infer=ENUMERATE)
                pyro.sample("x", normal(y.double() + z), obs=x + torch.arange(3.0)[:, None])

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", normal(x / 3))

    return model, guide


def enumerated_in_guide():
    """A semi-supervised model: the guide enumerates the class, and draws z given it."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            y = pyro.sample("y", dist.Categorical(torch.tensor([0.2, 0.8], dtype=torch.float64)))
            z = pyro.sample("z", normal(0.0))
            pyro.sample("x", normal(y.double() + z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            y = pyro.sample("y", dist.Categorical(logits=torch.stack([x, -x], -1)), infer=ENUMERATE)
            pyro.sample("z", normal(x - y.double(), 0.7))

    return model, guide


def two_enumerated():
    """One class enumerated in the guide, another, which depends on it, summed out in the model."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            y = pyro.sample("y", dist.Categorical(torch.tensor([0.2, 0.8], dtype=torch.float64)))
            table = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]], dtype=torch.float64)
            c = pyro.sample("c", dist.Categorical(table[y]), infer=ENUMERATE)
            z = pyro.sample("z", normal(0.0))
            pyro.sample("x", normal(y.double() + z - c.double()), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            y = pyro.sample("y", dist.Categorical(logits=torch.stack([x, -x], -1)), infer=ENUMERATE)
            pyro.sample("z", normal(x - y.double(), 0.7))

    return model, guide


def hidden_markov():
    """A state-space model with discrete states, summed out along a chain, and a continuous latent."""

    @config_enumerate
    def model(x):
        table = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal(0.0))
            y = 0
            for t in pyro.markov(range(4)):
                y = pyro.sample(f"y_{t}", dist.Categorical(table[y]))
                pyro.sample(f"x_{t}", normal(z + y.double()), obs=x + t)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", normal(x / 3))

    return model, guide


def state_space():
    """A state-space model with continuous states, each drawn given the one before."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = torch.zeros(len(x), dtype=torch.float64)
            for t in pyro.markov(range(3)):
                z = pyro.sample(f"z_{t}", normal(0.9 * z))
                pyro.sample(f"x_{t}", normal(z), obs=x + t)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            z = x
            for t in pyro.markov(range(3)):
                z = pyro.sample(f"z_{t}", normal(0.5 * z))

    return model, guide


def sequential():
    """A plate that is a loop inside the data plate, a factor and a named value."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal(0.0))
            pyro.deterministic("square", z**2)
            pyro.factor("penalty", -z.abs())
            for i in pyro.plate("steps", 3):
                pyro.sample(f"x_{i}", normal(z), obs=x + i)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", normal(x / 3))

    return model, guide


def flow():
    """A guide that is a normalising flow, conditioned on x."""
    torch.manual_seed(1)
    bend = T.affine_autoregressive(2, hidden_dims=[4]).double()

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal([0.0, 0.0]).to_event(1))
            pyro.sample("x", normal(z.sum(-1)), obs=x)

    def guide(x):
        pyro.module("bend", bend)
        with pyro.plate("data", len(x), dim=-1):
            base = normal(torch.stack([x, -x], -1)).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [bend]))

    return model, guide


def parameters():
    """Plain functions with parameters of the global store."""

    def model(x):
        loc = pyro.param("loc", torch.tensor(0.3, dtype=torch.float64))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal(loc))
            pyro.sample("x", normal(z), obs=x)

    def guide(x):
        scale = pyro.param(
            "scale",
            torch.tensor(0.5, dtype=torch.float64),
            constraint=dist.constraints.positive,
        )
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", normal(x / 3, scale))

    return model, guide


def automatic(kind=AutoNormal):
    """Pyro's automatic guide: an auxiliary site, and a positive latent by transform."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            one = torch.tensor(1.0, dtype=torch.float64)
            z = pyro.sample("z", dist.Gamma(one, one))
            pyro.sample("x", normal(z), obs=x)

    torch.manual_seed(2)
    return model, kind(model, init_scale=0.3)


class TutorialVAE(nn.Module):
    """The VAE of Pyro's tutorial: methods of a plain module, with `pyro.module`."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(1, 4).double()
        self.decoder = nn.Linear(2, 1).double()

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("latent", normal(x.new_zeros(x.shape[0], 2)).to_event(1))
            pyro.sample("obs", normal(self.decoder(z)).to_event(1), obs=x[:, None])

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            loc, raw = self.encoder(x[:, None]).split(2, -1)
            pyro.sample("latent", dist.Normal(loc, raw.exp()).to_event(1))


def tutorial():
    torch.manual_seed(3)
    vae = TutorialVAE()
    return vae.model, vae.guide


def side_by_side(one, other):
    """Concatenation along the last dimension, with the others broadcast."""
    shape = torch.broadcast_shapes(one.shape[:-1], other.shape[:-1])
    return torch.cat([part.expand(shape + part.shape[-1:]) for part in (one, other)], -1)


class SemiSupervised(PyroModule):
    """A VAE with a class that is observed in some calls and enumerated in others, as in Pyro's tutorial."""

    def __init__(self):
        super().__init__()
        self.classify = nn.Linear(1, 3).double()
        self.encode = nn.Linear(4, 4).double()
        self.decode = nn.Linear(5, 1).double()

    def model(self, x, y=None):
        with pyro.plate("data", len(x), dim=-1):
            flat = dist.OneHotCategorical(logits=x.new_zeros(len(x), 3))
            y = pyro.sample("y", flat, obs=y)
            z = pyro.sample("z", normal(x.new_zeros(len(x), 2)).to_event(1))
            decoded = self.decode(side_by_side(z, y))
            pyro.sample("x", normal(decoded).to_event(1), obs=x[:, None])

    def guide(self, x, y=None):
        with pyro.plate("data", len(x), dim=-1):
            if y is None:
                found = dist.OneHotCategorical(logits=self.classify(x[:, None]))
                y = pyro.sample("y", found, infer=ENUMERATE)
            loc, raw = self.encode(side_by_side(x[:, None], y)).split(2, -1)
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))


def semi_supervised():
    torch.manual_seed(4)
    module = SemiSupervised()
    return module.model, module.guide


def test_a_class_may_be_observed_in_one_call_and_enumerated_in_the_next():
    module = SemiSupervised()
    y = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 1]]
    objective, again = ELBO(), ELBO()
    for labels in (y, None, y):
        stock = Trace_ELBO() if labels is not None else TraceEnum_ELBO(max_plate_nesting=1)
        torch.manual_seed(0)
        expected = stock.loss(module.model, module.guide, X, labels)
        for each in (objective, again):
            torch.manual_seed(0)
            came = each.loss(module.model, module.guide, X, labels)
            assert came == pytest.approx(expected, abs=1e-10)


def other_name():
    """A data plate of another name."""

    def model(x):
        with pyro.plate("people", len(x), dim=-1):
            z = pyro.sample("z", normal(0.0))
            pyro.sample("x", normal(z), obs=x)

    def guide(x):
        with pyro.plate("people", len(x), dim=-1):
            pyro.sample("z", normal(x / 3))

    return model, guide


PROGRAMS = [
    several,
    inner_plate_left,
    inner_plate_right,
    masked,
    enumerated_inside,
    hidden_markov,
    state_space,
    sequential,
    flow,
    parameters,
    automatic,
    tutorial,
    other_name,
    enumerated_in_guide,
    two_enumerated,
    semi_supervised,
]
ENUMERATED = {
    semi_supervised,
    enumerated_inside,
    enumerated_in_guide,
    two_enumerated,
    hidden_markov,
}


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("num_particles", [1, 4])
def test_every_program_has_the_elbo_that_pyro_says(make, num_particles):
    model, guide = make()
    nesting = find_layout(model, guide, (X,), {}).nesting
    stock = (TraceEnum_ELBO if make in ENUMERATED else Trace_ELBO)(
        num_particles=num_particles, vectorize_particles=True, max_plate_nesting=nesting
    )
    torch.manual_seed(7)
    expected = stock.loss(model, guide, X)
    torch.manual_seed(7)
    came = ELBO(num_particles=num_particles).loss(model, guide, X)
    assert came == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
def test_a_column_depends_on_its_datapoint_alone(make):
    model, guide = make()
    torch.manual_seed(7)
    before = log_weights(model, guide, X, num_particles=3)
    changed = X.clone()
    changed[2] += 1.0
    torch.manual_seed(7)
    after = log_weights(model, guide, changed, num_particles=3)
    assert before.shape == after.shape == (3, B)
    # Pyro's automatic guide has parameters of its own for each datapoint.
    others = [b for b in range(B) if b != 2]
    torch.testing.assert_close(before[:, others], after[:, others], atol=1e-12, rtol=0)
    assert (before[:, 2] != after[:, 2]).all()


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
def test_one_run_of_many_particles_is_as_good_as_many_of_one(make):
    """Means over many draws, at 5 standard errors."""
    model, guide = make()
    terms = []
    for vectorize in (True, False):
        objective = IWAE(num_particles=2, vectorize_particles=vectorize)
        torch.manual_seed(1)
        losses = torch.tensor([objective.loss(model, guide, X) for _ in range(25)])
        terms.append((losses.mean(), losses.std() / 25**0.5))
    (a, a_error), (b, b_error) = terms
    assert abs(a - b) < 5 * (a_error**2 + b_error**2).sqrt()


def test_a_flow_draws_once_for_each_particle():
    weights = log_weights(*flow(), X, num_particles=50)
    assert (weights.std(0) > 0).all()


def test_the_automatic_guide_of_one_joint_vector_is_a_latent_of_all_datapoints():
    model, guide = automatic(AutoDiagonalNormal)
    guide(X)  # its first call makes its parameters
    torch.manual_seed(7)
    expected = Trace_ELBO().loss(model, guide, X)
    torch.manual_seed(7)
    assert ELBO().loss(model, guide, X) == pytest.approx(expected, abs=1e-10)
    with pytest.raises(ValueError, match="lies outside the plate 'data'"):
        log_weights(model, guide, X)


def grouped(x, data="data"):
    """Two levels: groups, and members in them; the plate over members is inside that over groups."""

    def model(x):
        with pyro.plate("groups", x.shape[0], dim=-2):
            mean = pyro.sample("mean", normal(0.0))
            with pyro.plate(data, x.shape[1], dim=-1):
                z = pyro.sample("z", normal(mean))
                pyro.sample("x", normal(z), obs=x)

    def guide(x):
        with pyro.plate("groups", x.shape[0], dim=-2):
            mean = pyro.sample("mean", normal(x.mean(-1, keepdim=True)))
            with pyro.plate(data, x.shape[1], dim=-1):
                pyro.sample("z", normal((x + mean) / 2, 0.7))

    return model, guide


def test_plates_around_the_data_plate_multiply_the_datapoints():
    x = double(3, 4)
    model, guide = grouped(x)
    layout = find_layout(model, guide, (x,), {})
    assert layout.plates == ("groups", "data")
    assert layout.dims == (-2, -1)
    particles = IWAE(num_particles=6).run(model, guide, (x,), {})
    assert particles.log_weights.shape == (6, 12)
    assert particles.outside == ("mean",)


def test_groups_are_the_datapoints_where_no_plate_is_called_data():
    x = double(3, 4)
    model, guide = grouped(x, data="members")
    assert log_weights(model, guide, x, num_particles=6).shape == (6, 3)


def test_the_plate_can_be_chosen():
    x = double(3, 4)
    model, guide = grouped(x)
    assert log_weights(model, guide, x, num_particles=6, plate="groups").shape == (6, 3)


def test_the_scale_of_the_data_plate_is_taken_out_and_given_back():
    index, size = torch.tensor([1, 5, 2, 9, 3]), 20

    def model(x):
        with pyro.plate("data", size, subsample=index, dim=-1):
            z = pyro.sample("z", normal(0.0))
            pyro.sample("x", normal(z), obs=x)

    def guide(x):
        with pyro.plate("data", size, subsample=index, dim=-1):
            pyro.sample("z", normal(x / 2, 0.5**0.5))

    exact = normal(0.0, 2**0.5).log_prob(X)
    torch.testing.assert_close(log_weights(model, guide, X), exact[None], atol=1e-10, rtol=0)
    assert -IWAE().loss(model, guide, X) == pytest.approx(exact.sum().item() * 4, abs=1e-10)


def test_programs_without_a_plate_are_one_datapoint_to_an_objective():
    def model():
        z = pyro.sample("z", normal(0.0))
        pyro.sample("x", normal(z), obs=X[0])

    def guide():
        pyro.sample("z", normal(X[0] / 2, 0.5**0.5))

    exact = normal(0.0, 2**0.5).log_prob(X[0]).item()
    assert -IWAE(num_particles=3).loss(model, guide) == pytest.approx(exact, abs=1e-10)
    with pytest.raises(ValueError, match="no vectorised plate that encloses all observed sites"):
        log_weights(model, guide)


def test_weights_of_an_enumerated_class_are_summed_over_it():
    """The guide's own probabilities of the class cancel."""
    model, guide = enumerated_in_guide()
    torch.manual_seed(5)
    weights = log_weights(model, guide, X, num_particles=1)
    torch.manual_seed(5)
    z = torch.distributions.Normal(torch.zeros(2, 1, B, dtype=torch.float64), 1.0).sample()
    y = torch.arange(2.0, dtype=torch.float64)[:, None, None]
    z = X - y + 0.7 * z
    prior = torch.tensor([0.2, 0.8], dtype=torch.float64).log()[:, None, None]
    by_hand = prior + normal(0.0).log_prob(z) + normal(y + z).log_prob(X)
    by_hand = by_hand - normal(X - y, 0.7).log_prob(z)
    torch.testing.assert_close(weights, by_hand.logsumexp(0), atol=1e-10, rtol=0)


def simple_guide(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", normal(x / 3))


class Scaled(PyroModule):
    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal(0.0))
            with poutine.scale(scale=0.5):
                pyro.sample("x", normal(z), obs=x)


def test_a_scale_weighs_a_term_of_the_elbo_and_is_refused_in_a_weight():
    guide = simple_guide
    torch.manual_seed(0)
    expected = Trace_ELBO().loss(Scaled(), guide, X)
    torch.manual_seed(0)
    assert ELBO().loss(Scaled(), guide, X) == pytest.approx(expected, abs=1e-10)
    with pytest.raises(ValueError, match="'x' has a scale of 0.5 inside its datapoint"):
        log_weights(Scaled(), guide, X)
    with pytest.raises(ValueError, match=r"use objectives\.ELBO"):
        IWAE(num_particles=3).loss(Scaled(), guide, X)


def test_an_inner_plate_that_is_subsampled_is_refused_in_a_weight():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal(0.0))
            with pyro.plate("pixels", 6, subsample=torch.arange(3), dim=-2):
                pyro.sample("x", normal(z), obs=x + torch.zeros(3, 1))

    with pytest.raises(ValueError, match="has a scale of 2 inside its datapoint"):
        log_weights(model, simple_guide, X, num_particles=2)


@pytest.mark.parametrize("num_particles", [0, -3])
def test_there_must_be_a_particle(num_particles):
    with pytest.raises(ValueError, match="at least one particle"):
        log_weights(*several(), X, num_particles=num_particles)


def test_a_nesting_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="set max_plate_nesting=2 or leave it out"):
        log_weights(*inner_plate_left(), X, max_plate_nesting=1)


def test_a_nesting_that_is_larger_than_needed_changes_nothing():
    values = []
    for nesting in (None, 1, 4):
        torch.manual_seed(0)
        values.append(
            log_weights(*several(), X, num_particles=3, max_plate_nesting=nesting).sum().item()
        )
    assert values[0] == values[1] == values[2]


def test_an_unknown_plate_is_refused():
    with pytest.raises(ValueError, match="no vectorised plate 'rows'.*their plates: people"):
        log_weights(*other_name(), X, plate="rows")


def test_a_site_enumerated_for_all_datapoints_is_refused():
    def model(x):
        y = pyro.sample("y", dist.Bernoulli(torch.tensor(0.5)), infer=ENUMERATE)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", normal(y.double()), obs=x)

    with pytest.raises(ValueError, match=r"'y' is enumerated outside the plate.*TraceEnum_ELBO"):
        IWAE(num_particles=2).loss(model, lambda x: None, X)


def test_a_guide_that_enumerates_in_an_inner_plate_is_refused():
    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", normal(x / 3))
            with pyro.plate("pixels", 3, dim=-2):
                pyro.sample("y", dist.Categorical(torch.ones(3)), infer=ENUMERATE)

    with pytest.raises(ValueError, match="'y' inside the plates .'pixels'., whose combinations"):
        log_weights(enumerated_inside()[0], guide, X)


def test_the_log_weights_carry_gradients():
    model = ProbabilisticPCA(3, latent=2)
    loc = nn.Parameter(torch.zeros(2))

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(loc.expand(len(x), 2), 1.0).to_event(1))

    log_weights(model, guide, torch.randn(B, 3)).sum().backward()
    assert loc.grad is not None
    assert model.weight.grad is not None


def test_nothing_outside_is_touched():
    model = ProbabilisticPCA(3, latent=2)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))

    find_layout(model, guide, (torch.randn(B, 3),), {})
    state = torch.get_rng_state()
    find_layout(model, guide, (torch.zeros(B, 3),), {})
    assert torch.equal(state, torch.get_rng_state())
    log_weights(model, guide, torch.zeros(B, 3))
    assert len(pyro.get_param_store()) == 0
    assert torch.get_default_dtype() is torch.float32
    assert not pyro.settings.get("module_local_params")


def test_datapoints_along_two_dimensions_are_refused():
    """Model and guide were multiplied out to B x B and summed: -9.2 for -1.3."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal(x.new_tensor(0.0)))
            pyro.sample("x", normal(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", normal(x[:, None] / 2, 0.5**0.5))

    with pytest.raises(ValueError, match="'data' takes dim -2 and -1 at different sites"):
        log_weights(model, guide, X)


def test_a_plate_that_is_asked_for_and_not_there_is_refused():
    """The plate "data" was taken in its place."""

    def program(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", normal(x.new_tensor(0.0)))

    with pytest.raises(ValueError, match="no vectorised plate 'rows' .their plates: data."):
        log_weights(program, program, X, plate="rows")


@pytest.mark.parametrize("infer", [{}, ENUMERATE])
def test_auxiliary_noise_that_the_model_has_not_is_refused(infer):
    """The "log-weights" of an exact guide were log p(x) + log 2: above the evidence, and called a bound."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal(x.new_tensor(0.0)))
            pyro.sample("x", normal(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            half = dist.Categorical(x.new_tensor([0.5, 0.5]))
            pyro.sample("side", half, infer={"is_auxiliary": True} | infer)
            pyro.sample("z", normal(x / 2, 0.5**0.5))

    with pytest.raises(ValueError, match="auxiliary site 'side' has no counterpart in the model"):
        log_weights(model, guide, X)
    with pytest.raises(ValueError, match="auxiliary site 'side' has no counterpart in the model"):
        ELBO().loss(model, guide, X)
