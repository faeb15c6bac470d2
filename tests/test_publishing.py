import json
import subprocess
import sys

import pytest
import torch

from pyrovae import checkpoint
from pyrovae.cli import main
from pyrovae.experiment import load
from pyrovae.publishing import load_model, publish
from pyrovae.records import OutputFolder

QUICK = [
    "--fit.epochs=1",
    "--fit.batch_size=600",
    "--evidence.num_particles=4",
    "--evaluate.elbo_particles=2",
    "--quiet",
]
VAE = ["--model.latent=2", "--model.hidden=[4]", "--guide.hidden=[4]"]
WITHOUT_PYRO = """
import sys, torch
loc, scale = torch.export.load(sys.argv[1] + "/encoder.pt2").module()(torch.full((3, 64), 0.5))
mean, spread = torch.export.load(sys.argv[1] + "/decoder.pt2").module()(loc)
torch.testing.assert_close(mean.shape, spread.shape)
print(tuple(loc.shape), tuple(mean.shape), "pyro" in sys.modules, float(mean.sum()))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    output = tmp_path_factory.mktemp("publishing") / "out"
    assert main(["fit", *QUICK, *VAE, f"--output={output}"]) == 0
    (found,) = OutputFolder.open(output).runs()
    return found


@pytest.fixture(scope="module")
def published(run, tmp_path_factory):
    return publish(run.path, tmp_path_factory.mktemp("publishing") / "model")


def test_what_is_loaded_is_what_was_fitted(run, published):
    model, guide, record = load_model(published)
    own = load(run)
    names = checkpoint.parameters(model=own.model, guide=own.guide)
    for name, tensor in checkpoint.parameters(model=model, guide=guide).items():
        assert torch.equal(tensor, names[name])
    assert record["test_elbo"] == run.record()["test_elbo"]
    assert model.decode(model.prior().sample((3,))).sample().shape == (3, 64)
    assert not model.training


def test_the_card_says_what_it_is_and_how_good(run, published):
    card = (published / "README.md").read_text()
    record = run.record()
    for said in ("digits", "VAE", "Amortized", "ELBO", f"{record['test_log_evidence']:.3f} ±"):
        assert said in card
    assert "k-hat above" in card
    assert "estimated by ImportanceSampling(num_particles=4, " in card
    assert "not known in closed form" in card
    code = card.split("```python\n")[1].split("```")[0]
    assert "load_model" in code


def test_the_code_on_the_card_runs(published, monkeypatch):
    monkeypatch.chdir(published.parent)
    blocks = (published / "README.md").read_text().split("```python\n")[1:]
    assert len(blocks) == 2
    for block in blocks:
        exec(block.split("```")[0], {"x": torch.zeros(2, 64), "z": torch.zeros(2, 2)})


def test_the_draws_for_the_card_are_scored_a_few_at_a_time(run, tmp_path):
    rows = []
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, given: rows.append(given[0][..., 0].numel())
    )
    with hook:
        publish(run.path, tmp_path / "model")
    assert max(rows) <= 50 * 397  # of 1,000 draws for each of 397 rows


def test_the_folder_holds_no_code(published):
    names = {p.name for p in published.iterdir()}
    assert names == {
        "README.md",
        "model.safetensors",
        "model.json",
        "record.json",
        "encoder.pt2",
        "decoder.pt2",
    }


def test_encoder_and_decoder_run_without_pyro(published):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYRO, str(published)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(3, 2) (3, 64) False")
    model, guide, _ = load_model(published)
    with torch.no_grad():
        found = guide.family.distribution(guide.local_parameters(torch.full((3, 64), 0.5)))
        expected = float(model.decode(found.mean).mean.sum())
    assert float(done.stdout.split()[-1]) == pytest.approx(expected, rel=1e-5)


def test_parts_of_strangers_are_not_imported_unless_told(published, tmp_path):
    tensors, metadata = checkpoint.load(published / "model.safetensors")
    metadata["parts"]["model"]["name"] = "subprocess.Popen"
    checkpoint.save(tmp_path / "model.safetensors", tensors, metadata)
    (tmp_path / "record.json").write_text("{}")
    with pytest.raises(ValueError, match="not of this package.*own_parts=True"):
        load_model(tmp_path)
    with pytest.raises(ValueError, match="is not a model"):
        load_model(tmp_path, own_parts=True)


@pytest.mark.parametrize("missing", ["parts", "sizes"])
def test_what_is_no_published_model_is_said(missing, published, tmp_path):
    tensors, metadata = checkpoint.load(published / "model.safetensors")
    del metadata[missing]
    checkpoint.save(tmp_path / "model.safetensors", tensors, metadata)
    (tmp_path / "record.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match=f"not a published model: '{missing}' is missing"):
        load_model(tmp_path)


def test_a_folder_with_something_in_it_is_left_alone(run, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        publish(run.path, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_what_was_stopped_can_be_published_again(stop, run, tmp_path, monkeypatch):
    def stopped(*_):
        raise stop

    with monkeypatch.context() as patched:
        patched.setattr("pyrovae.publishing.export", stopped)
        with pytest.raises(stop):
            publish(run.path, tmp_path / "model")
    assert load_model(publish(run.path, tmp_path / "model")).record["model"] == "VAE"


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    with pytest.raises(ValueError, match="finished run"):
        publish(tmp_path / "nowhere", tmp_path / "model")


def test_from_the_command_line(run, tmp_path, capsys):
    assert main(["publish", str(run.path), str(tmp_path / "model")]) == 0
    assert "load_model" in capsys.readouterr().err
    assert load_model(tmp_path / "model").record["model"] == "VAE"


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["--model=GaussianMixture", "--model.components=2"], {"encoder.pt2", "decoder.pt2"}),
        ([*VAE[:2], "--guide=PerDatapoint", "--evaluate.refit_steps=2"], {"decoder.pt2"}),
    ],
)
def test_other_combinations(words, files, tmp_path):
    assert main(["fit", *QUICK, *words, f"--output={tmp_path / 'out'}"]) == 0
    (found,) = OutputFolder.open(tmp_path / "out").runs()
    folder = publish(found.path, tmp_path / "model")
    assert {p.name for p in folder.glob("*.pt2")} == files
    model, _, record = load_model(folder)
    assert type(model).__name__ == record["model"]
