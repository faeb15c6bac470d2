import pytest
import yaml

from pyrovae.running.config import Config, Part


def test_yaml_and_back_is_the_same_configuration():
    config = Config(
        model=Part("VAE", {"latent": 3, "hidden": (5, 6)}),
        scheduler=Part("CosineAnnealingLR"),
        objective=Part("Trace_ELBO"),
        fit={"epochs": 7},
        seed=4,
    ).complete()
    again = Config.from_yaml(config.to_yaml())
    assert again.to_yaml() == config.to_yaml()
    assert again.complete().to_yaml() == config.to_yaml()
    assert again.run_name == config.run_name
    assert again.scheduler.options["T_max"] == 7


def test_an_exponent_needs_no_point():
    config = Config.from_yaml("optim: {name: Adam, lr: 1e-3}")
    assert config.optim.options["lr"] == 0.001
    named = Config.from_yaml("data: {name: Array, source: '1e-3'}")
    assert Config.from_yaml(named.to_yaml()) == named


def test_defaults_are_written_out():
    options = Config().complete().plain()
    assert options["model"]["latent"] == 10
    assert options["fit"]["batch_size"] == 128


def test_products_in_bfloat16_are_asked_for_by_name():
    config = Config.from_yaml("fit: {precision: bfloat16}").complete()
    assert config.fit["precision"] == "bfloat16"
    assert config.digest != Config().complete().digest


def test_digests_tell_configurations_apart():
    digests = {Config(seed=s, fit={"epochs": e}).complete().digest for s in (0, 1) for e in (1, 2)}
    assert len(digests) == 4
    assert Config(model=Part("vae")).complete().digest == Config().complete().digest


@pytest.mark.parametrize(
    "written",
    ["model: VAE", "model: {name: VAE}", "model: {class_path: VAE, init_args: {}}"],
)
def test_ways_to_write_a_part(written):
    assert Config.from_yaml(written).complete().digest == Config().complete().digest


@pytest.mark.parametrize(
    ("written", "error", "sentence"),
    [
        ("modle: VAE", ValueError, "did you mean model"),
        ("model: 3", ValueError, "must be a name"),
        ("seed: 1.5", ValueError, "whole number"),
        ("seed: true", ValueError, "whole number"),
        ("seed: -1", ValueError, "at least 0"),
        ("fit: 3", ValueError, "must hold options"),
        ("fit: {epoch: 3}", TypeError, "did you mean epochs"),
        ("fit: {epochs: 0}", ValueError, "at least 1"),
        ("fit: {epochs: null}", ValueError, "whole number"),
        ("evaluate: {elbo_particles: 1}", ValueError, "at least 2"),
        ("model: {name: VAE, latnt: 3}", TypeError, "did you mean latent"),
        ("- a list", ValueError, "mapping"),
        ("model: [", ValueError, "not readable YAML"),
    ],
)
def test_mistakes_are_named(written, error, sentence):
    with pytest.raises(error, match=sentence):
        Config.from_yaml(written).complete()


def test_what_yaml_holds_is_plain():
    assert yaml.safe_load(Config().complete().to_yaml()) == Config().complete().plain()


def test_a_part_may_have_an_option_that_is_called_name():
    config = Config(data=Part("Array", {"source": "rows.npy", "name": "trees"})).complete()
    again = Config.from_yaml(config.to_yaml())
    assert (again.data.name, again.data.options["name"]) == ("Array", "trees")
    assert again.digest == config.digest
