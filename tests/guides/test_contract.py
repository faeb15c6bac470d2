"""What every guide in the public list keeps, with every family: shapes, dtypes, and both SVIs train it."""

import functools

import pyro
import pytest
import torch
from pyro import poutine

import pyrovae
from pyrovae import guides, objectives
from pyrovae.families import FAMILIES
from pyrovae.models import (
    VAE,
    GaussianMixture,
    HierarchicalVAE,
    ProbabilisticPCA,
    VampPriorVAE,
)
from pyrovae.registry.parts import build, options

FEATURES, LATENT, ROWS = 5, 2, 12

# Guides made for a model of one kind.
MADE_FOR = {"Hierarchical": "two layers", "ModelEncoder": "vamp"}
# Tests of its own: its site is not "z", and it draws only where pixels are missing.
APART = {"MissingPixels"}


def pairs():
    """(guide, options, model) of everything that can be put together."""
    for name in guides.__all__:
        if name in APART:
            continue
        if name in MADE_FOR:
            yield name, {}, MADE_FOR[name]
            continue
        families = FAMILIES if "family" in options("guide", name) else [None]
        for family in families:
            settings = {} if family is None else {"family": family}
            if family == "categorical":
                if (
                    name != "SemiAmortized"
                ):  # its steps follow a gradient, which categories have not
                    yield name, settings, "mixture"
            elif family is None:
                yield from ((name, settings, model) for model in ("mixture", "pca"))
            else:
                yield from ((name, settings, model) for model in ("pca", "vae"))


PAIRS = [
    pytest.param(*pair, id="-".join([pair[0], *pair[1].values(), pair[2]])) for pair in pairs()
]


def make(name, settings, model_name):
    model = {
        "mixture": lambda: GaussianMixture(FEATURES, components=3),
        "pca": lambda: ProbabilisticPCA(FEATURES, latent=LATENT),
        "vae": lambda: VAE(FEATURES, latent=LATENT, hidden=(8,)),
        "vamp": lambda: VampPriorVAE(FEATURES, latent=LATENT, components=3),
        "two layers": lambda: HierarchicalVAE(
            FEATURES, latent=LATENT, lower=3, hidden=(8,), upper_hidden=(8,), likelihood="gaussian"
        ),
    }[model_name]()
    if "hidden" in options("guide", name):
        settings = settings | {"hidden": (8,)}
    sizes = {"features": FEATURES, "size": ROWS, "latent": model.latent, "model": model}
    return model, build("guide", name, settings, **sizes)


def batch(rows):
    return {"x": torch.randn(len(rows), FEATURES), "index": rows, "size": ROWS}


@pytest.mark.parametrize(("name", "settings", "model_name"), PAIRS)
def test_a_draw_for_every_row_of_the_batch(name, settings, model_name):
    model, guide = make(name, settings, model_name)
    event = () if model_name == "mixture" else (LATENT,)
    assert guide(**batch(torch.tensor([1, 5, 7]))).shape == (3, *event)
    trace = poutine.trace(guide).get_trace(**batch(torch.tensor([0, 4])))
    site = trace.nodes["z2" if name == "Hierarchical" else "z"]
    assert site["fn"].batch_shape == (2,)
    assert [(f.name, f.size, f.dim, f.full_size) for f in site["cond_indep_stack"]] == [
        ("data", 2, -1, ROWS)
    ]
    weights = pyrovae.log_weights(model, guide, torch.randn(ROWS, FEATURES), num_particles=4)
    assert weights.shape == (4, ROWS)
    assert weights.isfinite().all()


@pytest.mark.parametrize(("name", "settings", "model_name"), PAIRS)
def test_double_precision_goes_all_the_way(name, settings, model_name):
    model, guide = make(name, settings, model_name)
    model, guide = model.double(), guide.double()
    x = torch.randn(ROWS, FEATURES, dtype=torch.float64)
    assert pyrovae.log_weights(model, guide, x, num_particles=2).dtype == torch.float64


@pytest.mark.parametrize(("name", "settings", "model_name"), PAIRS)
def test_parameters_and_random_state_are_left_alone(name, settings, model_name):
    model, guide = make(name, settings, model_name)
    before = [p.clone() for p in [*model.parameters(), *guide.parameters()]]
    state = pyro.get_param_store().get_state()
    pyrovae.log_weights(model, guide, torch.randn(ROWS, FEATURES), num_particles=3)
    after = [*model.parameters(), *guide.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for p in after)
    assert state["params"].keys() == pyro.get_param_store().get_state()["params"].keys()


def trained(step, model, guide):
    """Whether steps move every parameter that is there."""
    programs = {"model": model, "guide": guide}
    before = {
        f"{name}.{key}": value.clone()
        for name, program in programs.items()
        for key, value in program.named_parameters()
    }
    losses = [step() for _ in range(5)]
    after = {
        f"{name}.{key}": value
        for name, program in programs.items()
        for key, value in program.named_parameters()
    }
    assert all(torch.isfinite(torch.tensor(losses)))
    return {key for key in before if not torch.equal(before[key], after[key])}, set(before)


@pytest.mark.filterwarnings("ignore:.*you need to use TraceEnum_ELBO")
@pytest.mark.parametrize("svi", ["stock", "own"])
@pytest.mark.parametrize(("name", "settings", "model_name"), PAIRS)
def test_it_trains(svi, name, settings, model_name):
    model, guide = make(name, settings, model_name)
    x = torch.randn(ROWS, FEATURES)
    if svi == "stock":
        step = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.Trace_ELBO())
    else:
        adam = functools.partial(torch.optim.Adam, lr=1e-2)
        step = pyrovae.SVI(model, guide, adam, objectives.ELBO())
    moved, all_of_them = trained(lambda: step.step(x), model, guide)
    assert moved == all_of_them
