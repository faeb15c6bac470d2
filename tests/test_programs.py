"""What a program looks like, and the check that a model and a guide fit together."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn

from pyrovae.guides import Amortized, ExactPosterior
from pyrovae.models import VAE, GaussianMixture, ProbabilisticPCA
from pyrovae.programs import (
    ExactModel,
    GenerativeModel,
    RowGuide,
    check,
    data_plate,
    latent_sites,
    modules_of,
    own_parameters,
)

X = torch.randn(4)


def test_the_data_plate_is_a_subsample_where_a_size_is_given():
    with data_plate(3) as rows:
        assert rows.tolist() == [0, 1, 2]
    index = torch.tensor([4, 0, 7])

    def program():
        with data_plate(3, index, 12) as rows:
            assert rows.tolist() == [4, 0, 7]
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(3))

    site = poutine.trace(program).get_trace().nodes["x"]
    assert site["scale"] == 4.0
    assert site["cond_indep_stack"][0].dim == -1


def test_protocols_say_which_models_can_do_what():
    assert isinstance(GaussianMixture(3), ExactModel)
    assert isinstance(ProbabilisticPCA(3), ExactModel)
    assert not isinstance(VAE(3), ExactModel)
    assert all(isinstance(m, GenerativeModel) for m in (VAE(3), ProbabilisticPCA(3)))
    assert not isinstance(Amortized(3, 2), RowGuide)


def test_modules_are_found_behind_methods_closures_partials_and_decorators():
    layer, other = nn.Linear(2, 2), nn.Linear(2, 2)

    class Plain(nn.Module):
        def model(self, x):
            return x

    plain = Plain()

    @functools.wraps(layer)
    def wrapped(x):
        return other(x)

    assert modules_of(layer) == [layer]
    assert modules_of(plain.model) == [plain]
    assert modules_of(lambda x: layer(other(x))) == [layer, other]
    assert modules_of(functools.partial(layer, torch.zeros(2))) == [layer]
    assert modules_of(layer, layer, plain.model) == [layer, plain]
    assert modules_of(len) == []


class Named(PyroModule):
    """A module whose attributes have the same names as those of any other of its class."""

    def __init__(self, value):
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(value))
        self.scale = PyroParam(torch.tensor(abs(value)), constraint=dist.constraints.positive)

    def forward(self):
        return self.loc, self.scale


def test_modules_with_the_same_names_keep_their_own_parameters():
    one, other = Named(1.0), Named(-2.0)
    with own_parameters():
        assert [v.item() for v in one()] == [1.0, 1.0]
        assert [v.item() for v in other()] == pytest.approx([-2.0, 2.0])
    assert len(pyro.get_param_store()) == 0
    assert not pyro.settings.get("module_local_params")


def test_a_trace_sees_parameters_as_stock_svi_needs_them():
    module = Named(1.0)
    with own_parameters(), poutine.trace(param_only=True) as seen:
        module()
    found = {site["value"].unconstrained() for site in seen.trace.nodes.values()}
    assert found == set(module.parameters())
    assert not hasattr(module.loc, "unconstrained")


def test_own_parameters_leave_the_setting_after_an_error():
    with pytest.raises(KeyError), own_parameters():
        raise KeyError
    assert not pyro.settings.get("module_local_params")


def test_latent_sites_leave_out_subsamples_and_observations():
    def program():
        with pyro.plate("data", 5, subsample_size=2):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(2))

    assert list(latent_sites(poutine.trace(program).get_trace())) == ["z"]


def model(x):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x / 2, 1.0))


@pytest.mark.parametrize(
    ("make_model", "make_guide"),
    [
        (lambda: model, lambda m: guide),
        (lambda: ProbabilisticPCA(4, latent=2), ExactPosterior),
        (lambda: GaussianMixture(4, components=3), ExactPosterior),
        (lambda: VAE(4, latent=2), lambda m: Amortized(4, 2)),
    ],
)
def test_programs_that_fit_pass_and_leave_no_trace(make_model, make_guide):
    first = make_model()
    second = make_guide(first)
    x = X if first is model else torch.randn(5, 4)
    state = torch.get_rng_state()
    assert check(first, second, x) is None
    assert torch.equal(state, torch.get_rng_state())
    assert len(pyro.get_param_store()) == 0


def in_plate(name, size, fn, site="z"):
    def program(x):
        with pyro.plate(name, size, dim=-1):
            pyro.sample(site, fn)

    return program


REFUSED = [
    (lambda x: None, r"the guide misses the latent site 'z' of the model: add pyro\.sample\('z'"),
    (in_plate("data", 4, dist.Normal(0.0, 1.0), site="y"), "the guide misses the latent site 'z'"),
    (lambda x: pyro.sample("z", dist.Normal(torch.zeros(4), 1.0)), "is in plates {'data': 4}"),
    (in_plate("rows", 4, dist.Normal(0.0, 1.0)), "{'rows': 4} of the guide: use the same plates"),
    (
        in_plate("data", 4, dist.Normal(torch.zeros(2), 1.0).to_event(1)),
        r"shape \(4,\) in the model but \(4, 2\)",
    ),
]


@pytest.mark.parametrize(("other", "sentence"), REFUSED)
def test_programs_that_do_not_fit_are_refused_in_a_sentence(other, sentence):
    with pytest.raises(ValueError, match=sentence):
        check(model, other, X)


def test_a_site_too_many_is_refused_unless_it_is_auxiliary():
    def more(x, infer=None):
        guide(x)
        pyro.sample("extra", dist.Normal(0.0, 1.0), infer=infer)

    with pytest.raises(ValueError, match="site 'extra' that the model has not .the model's latent"):
        check(model, more, X)
    check(model, functools.partial(more, infer={"is_auxiliary": True}), X)


def test_data_that_are_not_numbers_are_refused():
    x = X.clone()
    x[1] = float("nan")
    sentence = "log-probability of site 'x' is not a number"
    with pyro.validation_enabled(False), pytest.raises(ValueError, match=sentence):
        check(model, lambda x: guide(torch.zeros(4)), x)


def test_a_module_with_a_prior_over_its_weights_passes():
    """A decoder whose weights are latent, outside the plate."""

    class Bayesian(PyroModule):
        def __init__(self):
            super().__init__()
            self.linear = PyroModule[nn.Linear](1, 1)
            self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 1]).to_event(2))

        def forward(self, x):
            slope = self.linear.weight.squeeze()
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(slope * z, 1.0), obs=x)

    def both(x):
        weight = dist.Normal(torch.zeros(1, 1), 1.0).to_event(2)
        pyro.sample("linear.weight", weight)
        guide(x)

    check(Bayesian(), both, X)
