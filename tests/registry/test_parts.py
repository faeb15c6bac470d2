import pytest
import torch

from pyrovae.objectives import IWAE
from pyrovae.registry import parts

OWN_PART = """
import torch


class Mine(torch.nn.Module):
    def __init__(self, features, *, width: int, depth: int = 2):
        torch.nn.Module.__init__(self)
        self.features, self.width, self.depth = features, width, depth
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "mylab_parts.py").write_text(OWN_PART)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("kind", parts.KINDS)
def test_every_public_name_stands_for_a_class(kind):
    assert parts.names(kind)
    for name in parts.names(kind):
        assert parts.resolve(kind, name).__name__ == name
        assert parts.resolve(kind, name.lower()).__name__.lower() == name.lower()


def test_stock_objectives_go_by_their_own_names():
    assert parts.resolve("objective", "RenyiELBO").__module__.startswith("pyro.infer")


def test_a_dotted_path_works_where_a_name_does(own_module):
    made = parts.build("model", "mylab_parts.Mine", {"width": 3}, features=64, size=100)
    assert (made.features, made.width, made.depth) == (64, 3, 2)


@pytest.mark.parametrize(
    ("kind", "name", "options", "error", "sentence"),
    [
        ("objective", "IWEA", {}, ValueError, "did you mean IWAE. Known: .*RenyiELBO"),
        ("model", "mylab_nowhere.Mine", {}, ValueError, "cannot be imported"),
        ("model", "torch.NoSuchThing", {}, ValueError, "no class 'NoSuchThing'"),
        ("objective", "IWAE", {"num_particle": 3}, TypeError, "did you mean num_particles"),
        ("model", "VAE", {"features": 3}, TypeError, "follows from the data"),
        ("guide", "PerDatapoint", {}, TypeError, "needs `latent`"),
        ("model", "mylab_parts.Mine", {}, TypeError, "needs the option 'width'"),
        ("model", "", {}, ValueError, "must be a name"),
    ],
)
def test_mistakes_are_named(own_module, kind, name, options, error, sentence):
    with pytest.raises(error, match=sentence):
        parts.build(kind, name, options, features=64, size=10)


def test_injected_values_go_where_they_are_asked_for():
    guide = parts.build("guide", "PerDatapoint", {}, features=9, size=4, latent=2, model=None)
    assert (guide.size, guide.latent) == (4, 2)
    optimiser = parts.build(
        "optim", "SGD", {"lr": 0.5}, params=[torch.zeros(1, requires_grad=True)]
    )
    assert optimiser.defaults["lr"] == 0.5


def test_options_given_are_kept_and_the_rest_are_defaults():
    objective = parts.build("objective", "iwae", {"num_particles": 3})
    assert isinstance(objective, IWAE)
    assert objective.num_particles == 3
    assert parts.complete("objective", "IWAE", {"num_particles": 3})["vectorize_particles"] is True


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("model", "subprocess.Popen"),
        ("guide", "os.system"),
        ("objective", "pyrovae.models.VAE"),
        ("data", "subprocess.Popen"),
        ("evidence", "subprocess.Popen"),
        ("evidence", "pyrovae.objectives.IWAE"),
        ("optim", "pathlib.Path"),
        ("scheduler", "torch.optim.Adam"),
    ],
)
def test_what_a_path_names_must_be_of_its_kind(kind, path):
    with pytest.raises(ValueError, match="has no class|is not a|is not an estimator"):
        parts.resolve(kind, path)
