"""What every objective owes, generated from the public list."""

import inspect

import pyro
import pytest
import torch
from pyro.infer import ELBO

from pyrovae import SVI, objectives
from pyrovae.guides import Amortized
from pyrovae.models import VAE
from pyrovae.objectives import IWAE, Beta, WakeSleep

X = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
HEADINGS = (
    ".. math::",
    "What it bounds: ",
    "Gradient: ",
    "Cost: ",
    "When to use it: ",
    "Args:",
    "Returns:",
    "Raises:",
    "Source: ",
    "How to read it: ",
    "Example:",
)


def programs():
    torch.manual_seed(0)
    return VAE(4, latent=2, hidden=(5,)), Amortized(4, 2, hidden=(5,))


@pytest.mark.parametrize("name", objectives.__all__)
def test_every_objective_says_the_same_things_in_the_same_order(name):
    documentation = inspect.getdoc(getattr(objectives, name))
    places = [documentation.find(f"\n{heading}") for heading in HEADINGS]
    assert places == sorted(places), HEADINGS
    assert places[0] > 0, "no formula"


@pytest.mark.parametrize("name", objectives.__all__)
def test_every_objective_goes_where_those_of_pyro_go(name):
    objective = getattr(objectives, name)()
    assert isinstance(objective, ELBO)
    assert {"num_particles", "max_plate_nesting", "vectorize_particles"} <= set(
        inspect.signature(type(objective)).parameters
    )
    model, guide = programs()
    torch.manual_seed(1)
    value = objective.loss(model, guide, X)
    torch.manual_seed(1)
    loss = objective.differentiable_loss(model, guide, X)
    assert isinstance(value, float)
    assert loss.item() == pytest.approx(value, rel=1e-5)
    loss.backward()
    # With a weight of 0 on the divergence, warm-up would leave parameters out.
    assert all(p.grad is not None for m in (model, guide) for p in m.parameters())
    torch.manual_seed(1)
    assert objective.loss_and_grads(model, guide, X) == pytest.approx(value, rel=1e-5)
    assert objective(model, guide)(X).requires_grad
    assert len(pyro.get_param_store()) == 0


STEPS = [pytest.param(name, {}, id=name) for name in ("ELBO", "PIWAE", "TVO", "VRMax")] + [
    pytest.param("Beta", {"warm_up": 5, "objective": "IWAE"}, id="warm-up"),
    pytest.param("ELBO", {"gradient": "score"}, id="moving average"),
    pytest.param("WakeSleep", {"insomnia": 0.5}, id="dreams"),
]


@pytest.mark.parametrize(("name", "options"), STEPS)
def test_a_recorded_step_is_the_step_itself(name, options):
    losses = []
    for level in ("eager", "traced"):
        model, guide = programs()
        objective = getattr(objectives, name)(**options)
        svi = SVI(model, guide, lambda p: torch.optim.Adam(p, lr=0.01), loss=objective, level=level)
        torch.manual_seed(2)
        losses.append([svi.step(X, index=torch.arange(8), size=32) for _ in range(4)])
    assert losses[0] == losses[1]


def test_what_an_objective_remembers_can_be_put_back():
    for make in (lambda: Beta(warm_up=10, objective="IWAE"), lambda: IWAE(gradient="score")):
        model, guide = programs()
        one, other = make(), make()
        for _ in range(3):
            one.differentiable_loss(model, guide, X)
        other.load_state(one.state())
        assert one.state().keys() == other.state().keys()
        assert all(torch.equal(one.state()[k], v) for k, v in other.state().items())


def test_evaluation_leaves_what_is_remembered_alone():
    model, guide = programs()
    for objective in (Beta(warm_up=10), WakeSleep(), IWAE(gradient="score", num_particles=1)):
        before = {k: v.clone() for k, v in objective.state().items()}
        objective.loss(model, guide, X)
        assert all(torch.equal(before[k], v) for k, v in objective.state().items())
