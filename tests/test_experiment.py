import numpy as np
import pytest
import torch

from pyrovae import checkpoint
from pyrovae.experiment import Experiment, load, run
from pyrovae.records import METRICS, OutputFolder
from pyrovae.running.config import Config, Part

QUICK = {
    "fit": {"epochs": 2, "batch_size": 400},
    "evaluate": {"elbo_particles": 10, "refit_steps": 3},
    "evidence": Part("ImportanceSampling", {"num_particles": 20}),
}
SMALL = {"latent": 3, "hidden": [8]}


def vae(guide="Amortized", **entries):
    options = {"hidden": [8]} if guide == "Amortized" else {}
    return Config(model=Part("VAE", SMALL), guide=Part(guide, options), **{**QUICK, **entries})


def carry_out(config, path):
    config = config.complete()
    folder = OutputFolder.claim(path).run(config.run_name)
    return run(config, folder, progress=False), folder


def without_times(record):
    return {k: v for k, v in record.items() if not k.endswith("_seconds")}


def test_a_run_leaves_everything_that_a_report_needs(tmp_path):
    record, folder = carry_out(vae(), tmp_path)
    assert record["status"] == "finished"
    assert record["data"]["rows"] == {"train": 1200, "validation": 200, "test": 397}
    assert record["model_options"]["hidden"] == [8]
    assert record["exact_log_evidence"] is None
    assert record["test_elbo"] < record["test_log_evidence"]
    gap = record["test_log_evidence"] - record["test_elbo"]
    assert record["inference_gap"] == pytest.approx(gap, rel=1e-5)
    assert (record["epochs"], record["steps"]) == (2, 6)
    assert folder.record() == record
    assert folder.config() == Config.from_yaml(folder.config()).to_yaml()
    assert folder.metrics().keys() == set(METRICS)
    assert folder.metrics()["step"].tolist() == [3.0, 6.0]
    arrays = folder.arrays()
    assert arrays["samples"].shape == arrays["sample_means"].shape == (64, 64)
    assert arrays["reconstructions"].shape == arrays["test_images"].shape
    assert arrays["latent_2d"].shape == (397, 2)
    assert arrays["test_elbo"].mean() == pytest.approx(record["test_elbo"], rel=1e-5)
    assert checkpoint.load(folder.parameters_path)[1] == {"run": folder.name}


def test_the_mixture_shows_its_components_and_its_exact_evidence(tmp_path):
    config = Config(model=Part("GaussianMixture"), guide=Part("ExactPosterior"), **QUICK)
    record, folder = carry_out(config, tmp_path)
    assert record["exact_log_evidence"] == pytest.approx(record["test_log_evidence"], abs=1e-4)
    assert record["inference_gap"] == pytest.approx(0.0, abs=1e-4)
    arrays = folder.arrays()
    assert arrays["component_means"].shape == (10, 64)
    assert arrays["component_weights"].sum() == pytest.approx(1.0, abs=1e-5)
    assert arrays["component_labels"].sum() == 397
    members = arrays["component_labels"].sum(1)
    shown = (~np.isnan(arrays["component_examples"]).any(-1)).sum(1)
    assert (shown == np.minimum(members, arrays["component_examples"].shape[1])).all()


def test_a_table_of_rows_is_refitted_to_the_test_rows(tmp_path):
    record, folder = carry_out(vae("PerDatapoint"), tmp_path)
    assert record["status"] == "finished"
    assert folder.arrays()["latent_2d"].shape == (397, 2)
    assert np.isnan(folder.metrics()["validation_bound"]).all()


def test_a_sample_is_not_its_mean(tmp_path):
    arrays = carry_out(vae(), tmp_path)[1].arrays()
    residual = arrays["samples"] - arrays["sample_means"]
    assert residual.std() > 0.05
    # Both come from the same z, so the samples scatter about these very means.
    shuffled = arrays["samples"] - np.roll(arrays["sample_means"], 1, axis=0)
    assert (residual**2).mean() < (shuffled**2).mean()


def test_the_same_configuration_gives_the_same_record_and_the_random_state_is_left(tmp_path):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, folder = carry_out(vae(), tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    other, again = carry_out(vae(), tmp_path / "other")
    assert without_times(one) == without_times(other)
    assert folder.parameters_path.read_bytes() == again.parameters_path.read_bytes()
    third, _ = carry_out(vae(seed=1), tmp_path / "one")
    assert third["test_elbo"] != one["test_elbo"]


def test_a_finished_run_can_be_loaded_and_scores_the_same(tmp_path):
    record, folder = carry_out(vae(), tmp_path)
    again = load(folder).evaluate().summary()
    assert again["test_log_evidence"] == pytest.approx(record["test_log_evidence"], rel=1e-6)
    assert again["test_elbo"] == pytest.approx(record["test_elbo"], rel=1e-6)


def test_parameters_of_another_model_are_refused(tmp_path):
    _, folder = carry_out(vae(), tmp_path)
    text = folder.config().replace("latent: 3", "latent: 4")
    (folder.path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match="another model or guide"):
        load(folder)


def test_a_failure_is_recorded_and_raised(tmp_path):
    config = vae(optim=Part("SGD", {"lr": 1e30})).complete()
    folder = OutputFolder.claim(tmp_path).run(config.run_name)
    with pytest.raises(FloatingPointError):
        run(config, folder, progress=False)
    record = folder.record()
    assert record["status"] == "failed"
    assert "smaller learning rate" in record["error"]
    assert (record["model"], record["seed"]) == ("VAE", 0)


@pytest.mark.parametrize(
    ("entries", "error", "sentence"),
    [
        ({"guide": Part("ExactPosterior")}, TypeError, "closed-form posterior"),
        ({"objective": Part("Trace_ELBO", {"num_particles": 0})}, ValueError, "at least 1"),
        ({"objective": Part("Renyi", {"alpha": 1})}, ValueError, "ELBO"),
        ({"model": Part("VAE", {"likelihood": "bernoulli"})}, ValueError, "other than 0 and 1"),
        ({"model": Part("VAE", {"latent": 0})}, ValueError, "at least 1"),
        ({"device": "nowhere"}, ValueError, "cannot be used"),
        ({"fit": {"epochs": -3}}, ValueError, "at least 1"),
    ],
)
def test_a_wrong_combination_is_refused_before_anything_is_written(
    tmp_path, entries, error, sentence
):
    config = Config(**{**QUICK, **entries})
    folder = OutputFolder.claim(tmp_path).run("wrong")
    with pytest.raises(error, match=sentence):
        run(config, folder, progress=False)
    assert not folder.path.exists()


OWN_MODEL = """
from pyrovae.models import ProbabilisticPCA


class Mine(ProbabilisticPCA):
    def __init__(self, features, *, latent: int = 2):
        ProbabilisticPCA.__init__(self, features, latent=latent)
"""


def test_a_model_of_ones_own_runs_by_its_dotted_path(tmp_path, monkeypatch):
    (tmp_path / "mylab_models.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    config = Config(model=Part("mylab_models.Mine"), guide=Part("ExactPosterior"), **QUICK)
    record, _ = carry_out(config, tmp_path / "out")
    assert record["model"] == "mylab_models.Mine"
    assert record["exact_log_evidence"] is not None


def test_a_run_without_a_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(vae(), progress=False)["status"] == "finished"
    assert list(tmp_path.iterdir()) == []


def test_building_gives_parts_that_know_each_other():
    made = Experiment.build(vae())
    assert (made.guide.features, made.guide.latent) == (64, 3)
