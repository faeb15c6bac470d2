"""A fit that is stopped and taken up again goes on to the bit."""

import functools
import logging
import signal
import threading
import time

import numpy as np
import pyro
import pytest
import torch

from pyrovae.fit import fit
from pyrovae.guides import Amortized, ExactPosterior, PerDatapoint
from pyrovae.models import VAE, GaussianMixture, ProbabilisticPCA
from pyrovae.objectives import ELBO, IWAE, Beta, Renyi
from pyrovae.training.checkpoint_folder import CheckpointFolder
from pyrovae.training.interrupts import Interrupted
from pyrovae.training.loop import Trainer
from pyrovae.training.resume import ResumeError

X = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
ADAM = functools.partial(torch.optim.Adam, lr=1e-2)


def vae():
    return VAE(6, latent=2, hidden=(4,)), Amortized(6, 2, hidden=(4,))


def table():
    return ProbabilisticPCA(6, latent=2), PerDatapoint(40, 2)


def mixture():
    model = GaussianMixture(6, components=2)
    return model, ExactPosterior(model)


def everything(parts, objective=ELBO, folder=None, **options):
    torch.manual_seed(0)
    pyro.clear_param_store()
    model, guide = parts()
    chosen = {"epochs": 4, "batch_size": 16, "seed": 3, "level": "eager", **options}
    if folder is not None:
        chosen = {"checkpoint_steps": 2, "checkpoint_seconds": None, "resume": True, **chosen}
    history = fit(model, guide, X, objective(), progress=False, run_dir=folder, **chosen)
    parameters = [p.detach().clone() for m in (model, guide) for p in m.parameters()]
    return parameters, history


def stopped(monkeypatch, step, *arguments, **options):
    """As if the machine had gone down before a step."""
    original = Trainer.step

    def down(trainer, index):
        if trainer.state.steps == step and trainer.guard is not None:
            raise KeyboardInterrupt
        original(trainer, index)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "guard", None, raising=False)
        patch.setattr(Trainer, "step", down)
        with pytest.raises(KeyboardInterrupt):
            everything(*arguments, **options)


def assert_same(one, other):
    (here, how), (there, so) = one, other
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    for name in ("step", "epoch", "train_bound", "validation_bound"):
        assert np.array_equal(getattr(how, name), getattr(so, name), equal_nan=True)
    assert (how.best_epoch, how.stopped_early) == (so.best_epoch, so.stopped_early)


CASES = {
    "rows as they come": (vae, ELBO, {"shuffle": False}),
    "amortized": (vae, ELBO, {"validation": X[:10]}),
    "several particles, schedule": (
        vae,
        lambda: IWAE(num_particles=2, gradient="dreg"),
        {"scheduler": functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=4)},
    ),
    "moving average of the score": (vae, lambda: ELBO(gradient="score"), {}),
    "warm-up, momentum, clipping": (
        vae,
        lambda: Beta(warm_up=20),
        {"optim": functools.partial(torch.optim.SGD, lr=1e-4, momentum=0.9), "clip_norm": 1.0},
    ),
    "a table of rows": (table, lambda: Renyi(alpha=0.5, num_particles=2), {}),
    "Pyro's objective and optimiser": (
        table,
        pyro.infer.Trace_ELBO,
        {"optim": lambda: pyro.optim.ClippedAdam({"lr": 1e-2, "lrd": 0.99})},
    ),
    "Pyro's schedule": (
        vae,
        ELBO,
        {
            "optim": lambda: pyro.optim.ExponentialLR(
                {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.01}, "gamma": 0.9}
            )
        },
    ),
    "enumeration, plateau, patience": (
        mixture,
        ELBO,
        {
            "validation": X[:10],
            "patience": 2,
            "scheduler": functools.partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0),
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fit_goes_on_to_the_bit_from_the_middle_of_a_pass(case, tmp_path, monkeypatch):
    parts, objective, options = CASES[case]
    own = options.get("optim")
    pyros = own is not None and not isinstance(own, functools.partial)

    def run():  # Pyro's optimisers remember, so that each fit needs one of its own
        return {**options, "optim": own()} if pyros else options

    whole = everything(parts, objective, **run())
    for at in (4, 7):
        stopped(monkeypatch, at, parts, objective, folder=tmp_path / "fit", **run())
    assert_same(everything(parts, objective, folder=tmp_path / "fit", **run()), whole)


def test_a_recorded_fit_goes_on_to_the_bit(tmp_path, monkeypatch):
    whole = everything(vae, level="traced")
    stopped(monkeypatch, 7, vae, folder=tmp_path / "fit", level="traced")
    assert_same(everything(vae, folder=tmp_path / "fit", level="traced"), whole)


def test_what_is_recorded_is_what_is_not(tmp_path, monkeypatch):
    stopped(monkeypatch, 7, vae, folder=tmp_path / "fit", level="traced")
    assert_same(everything(vae, folder=tmp_path / "fit", level="eager"), everything(vae))


def test_a_fit_can_be_made_longer(tmp_path):
    everything(vae, folder=tmp_path / "fit", epochs=2)
    assert_same(everything(vae, folder=tmp_path / "fit", epochs=4), everything(vae, epochs=4))


def test_a_fit_goes_on_with_more_patience(tmp_path):
    still = {"validation": X[:10], "optim": functools.partial(torch.optim.SGD, lr=0.0), "epochs": 8}
    short = everything(vae, folder=tmp_path / "fit", patience=2, **still)[1]
    assert (len(short.epoch), short.stopped_early) == (3, True)
    longer = everything(vae, folder=tmp_path / "fit", patience=5, **still)
    assert len(longer[1].epoch) == 6
    assert_same(longer, everything(vae, patience=5, **still))
    assert_same(everything(vae, folder=tmp_path / "fit", **still), everything(vae, **still))


def test_a_fit_that_is_over_is_not_trained_again(tmp_path):
    done = everything(vae, folder=tmp_path / "fit")
    before = sorted(p.name for p in (tmp_path / "fit").iterdir())
    assert_same(everything(vae, folder=tmp_path / "fit"), done)
    assert sorted(p.name for p in (tmp_path / "fit").iterdir()) == before


def test_the_last_two_and_the_best_are_kept(tmp_path):
    everything(vae, folder=tmp_path / "fit", validation=X[:10])
    folder = CheckpointFolder(tmp_path / "fit")
    # One in the middle of the last pass, and one when all was over.
    assert [m.name[5:21] for m in folder.manifests()] == ["000000000012-001", "000000000012-000"]
    assert len(folder.manifests("best")) == 1
    assert not list(folder.path.glob(".*.tmp"))


def test_a_damaged_checkpoint_is_said_and_the_one_before_it_taken(tmp_path, monkeypatch, caplog):
    stopped(monkeypatch, 9, vae, folder=tmp_path / "fit")
    newest = CheckpointFolder(tmp_path / "fit").manifests()[0].with_suffix(".safetensors")
    newest.write_bytes(newest.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        again = everything(vae, folder=tmp_path / "fit")
    assert "is damaged" in caplog.text
    assert_same(again, everything(vae))


def test_checkpoints_of_an_earlier_fit_are_not_overwritten(tmp_path):
    everything(vae, folder=tmp_path / "fit", epochs=1)
    with pytest.raises(ValueError, match="resume=True"):
        everything(vae, folder=tmp_path / "fit", resume=False)


DIFFERING = {
    "seed": {"seed": 4},
    "clip_norm": {"clip_norm": 2.0},
    "batch size": {"batch_size": 8},
    "optimiser": {"optim": functools.partial(torch.optim.SGD, lr=1e-4)},
    "optimiser.lr": {"optim": ADAM},
    "objective.num_particles": {"objective": lambda: ELBO(num_particles=2)},
    "validation data": {"validation": X[:10]},
    "level": {"level": "compiled"},
    "shuffle": {"shuffle": False},
    "precision of products": {"precision": "bfloat16"},
}


@pytest.mark.parametrize("what", DIFFERING)
def test_what_differs_is_named_and_refused(what, tmp_path):
    everything(vae, folder=tmp_path / "fit", epochs=1)
    with pytest.raises(ResumeError, match=rf"{what}: .* then, .* now"):
        everything(vae, folder=tmp_path / "fit", **DIFFERING[what])


def test_threads_and_versions_are_named(tmp_path, monkeypatch):
    everything(vae, folder=tmp_path / "fit", epochs=1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with pytest.raises(ResumeError, match="threads: 1 then, 7 now"):
        everything(vae, folder=tmp_path / "fit")
    everything(vae, folder=tmp_path / "fit", resume="anyway")


def test_another_learning_rate_holds_if_told_to_go_on(tmp_path):
    everything(vae, folder=tmp_path / "fit", epochs=1)
    kept, _ = everything(vae, folder=tmp_path / "fit", epochs=1)
    still = functools.partial(torch.optim.Adam, lr=0.0)
    parameters, _ = everything(vae, folder=tmp_path / "fit", optim=still, resume="anyway")
    assert all(torch.equal(a, b) for a, b in zip(parameters, kept, strict=True))


def test_another_model_is_refused_and_left_alone(tmp_path):
    everything(vae, folder=tmp_path / "fit", epochs=1)
    torch.manual_seed(0)
    model, guide = VAE(6, latent=2, hidden=(5,)), Amortized(6, 2, hidden=(4,))
    before = [p.detach().clone() for p in model.parameters()]
    options = {"epochs": 4, "batch_size": 16, "seed": 3, "level": "eager", "progress": False}
    with pytest.raises(ResumeError, match="another model or guide"):
        fit(model, guide, X, run_dir=tmp_path / "fit", resume=True, **options)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"resume": True}, TypeError, "resume needs run_dir"),
        ({"resume": "perhaps"}, ValueError, "resume must be True, False or 'anyway'"),
        ({"checkpoint_steps": 0}, ValueError, "checkpoint_steps"),
        ({"checkpoint_seconds": -1.0}, ValueError, "checkpoint_seconds"),
        ({"level": "fast"}, ValueError, "level is 'fast'"),
    ],
)
def test_options_out_of_range_are_refused(options, error, sentence):
    model, guide = vae()
    with pytest.raises(error, match=sentence):
        fit(model, guide, X, epochs=1, progress=False, **options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_leaves_a_checkpoint(number, tmp_path, monkeypatch):
    """Sent from another thread once the steps have begun, to arrive in the middle of some step."""
    sender = threading.Timer(0.1, signal.raise_signal, [number])
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    original = Trainer.step

    def begin(trainer, index):
        if sender.ident is None:
            sender.start()
        original(trainer, index)

    monkeypatch.setattr(Trainer, "step", begin)
    with pytest.raises(Interrupted, match="resume=True") as caught:
        everything(vae, folder=tmp_path / "fit", epochs=10_000, checkpoint_steps=None)
    monkeypatch.undo()
    assert caught.value.signal == number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    (manifest,) = CheckpointFolder(tmp_path / "fit").manifests()
    steps = int(manifest.name[5:17])
    epochs = steps // 3 + 2
    whole = everything(vae, epochs=epochs)
    assert_same(everything(vae, folder=tmp_path / "fit", epochs=epochs), whole)


def test_a_second_signal_stops_at_once(tmp_path, monkeypatch):
    original = Trainer.step

    def slow(trainer, index):
        original(trainer, index)
        if trainer.state.steps == 3:
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.01)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "step", slow)
    with pytest.raises(KeyboardInterrupt) as caught:
        everything(vae, folder=tmp_path / "fit", checkpoint_steps=None)
    assert not isinstance(caught.value, Interrupted)
    assert CheckpointFolder(tmp_path / "fit").manifests() == []


def test_without_a_folder_a_signal_is_what_it_always_is(monkeypatch):
    original = Trainer.step

    def interrupted(trainer, index):
        original(trainer, index)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        everything(vae)
    assert not isinstance(caught.value, Interrupted)


def test_numpys_and_pythons_random_numbers_go_on_too(tmp_path, monkeypatch):
    import random

    class Noisy(VAE):
        def forward(self, x, index=None, size=None):
            if self.training:
                x = x + 1e-3 * (np.random.rand() + random.random())
            return VAE.forward(self, x, index, size)

    def noisy():
        return Noisy(6, latent=2, hidden=(4,)), Amortized(6, 2, hidden=(4,))

    before = np.random.get_state()[1].copy(), random.getstate()
    whole = everything(noisy)
    assert (np.random.get_state()[1] == before[0]).all()
    assert random.getstate() == before[1]
    stopped(monkeypatch, 7, noisy, folder=tmp_path / "fit")
    np.random.rand(3)
    random.random()
    assert_same(everything(noisy, folder=tmp_path / "fit"), whole)


def test_the_epochs_before_are_told_again(tmp_path, monkeypatch):
    told = []
    everything(vae, folder=tmp_path / "fit", epochs=2)
    everything(vae, folder=tmp_path / "fit", epochs=4, on_epoch=told.append)
    assert [at.epoch for at in told] == [1, 2, 3, 4]
