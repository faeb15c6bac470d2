import pytest

from pyrovae.comparison.grid import GRID, grid
from pyrovae.registry import parts
from pyrovae.running.config import Part


def test_the_default_comparison_covers_what_it_promises():
    configs = grid()
    assert {c.model.name for c in configs} == {"GaussianMixture", "ProbabilisticPCA", "VAE"}
    assert {c.guide.name for c in configs} == {"Amortized", "ExactPosterior", "PerDatapoint"}
    assert {"Trace_ELBO", "Renyi", "IWAE"} <= {c.objective.name for c in configs}
    assert len({c.run_name for c in configs}) == len(configs)
    assert len(configs) <= 14


def test_every_part_goes_by_its_public_name():
    for config in grid():
        for kind in ("data", "model", "guide", "objective", "evidence"):
            assert getattr(config, kind).name in parts.names(kind)


def pairs(**choice):
    return [(c.model.name, c.guide.name, c.objective.name, c.seed) for c in grid(**choice)]


def test_choices():
    assert set(
        pairs(models=["vae"], guides=["Amortized"], objectives=["iwae", "ELBO"], seeds=[0, 2])
    ) == {
        ("VAE", "Amortized", objective, seed) for objective in ("IWAE", "ELBO") for seed in (0, 2)
    }
    assert {guide for _, guide, _, _ in pairs(guides=["ExactPosterior"])} == {"ExactPosterior"}
    assert ("VAE", "ExactPosterior") not in {p[:2] for p in pairs(guides=["ExactPosterior"])}
    assert {p[:2] for p in pairs(models=["ProbabilisticPCA"], guides=["PerDatapoint"])} == {
        ("ProbabilisticPCA", "PerDatapoint")
    }


def test_a_model_of_ones_own_gets_an_amortized_guide(tmp_path, monkeypatch):
    (tmp_path / "mylab_grid.py").write_text(
        "import torch\nclass Mine(torch.nn.Module):\n    def __init__(self, features): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert {p[:2] for p in pairs(models=["mylab_grid.Mine"])} == {("mylab_grid.Mine", "Amortized")}


def test_epochs_and_data_reach_every_run():
    configs = grid(epochs=3, data=Part("Digits", {"split_seed": 4}))
    assert {c.fit["epochs"] for c in configs} == {3}
    assert {c.data.options["split_seed"] for c in configs} == {4}
    assert {c.scheduler.options["T_max"] for c in configs if c.scheduler} <= {3}


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"models": ["VEA"]}, "did you mean VAE"),
        ({"objectives": ["Trace"]}, "Unknown objective"),
        ({"guides": ["nothing"]}, "Unknown guide"),
        ({"epochs": 0}, "epochs"),
        ({"seeds": [-1]}, "seed"),
    ],
)
def test_mistakes_are_named(choice, sentence):
    with pytest.raises(ValueError, match=sentence):
        grid(**choice)


def test_each_recipe_names_its_objectives():
    assert all(recipe.objectives for recipe in GRID)
