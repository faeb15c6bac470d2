"""Mistakes that users make, each with the sentence that it should be answered with."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from disks import SMALL
from figures import Figure
from kills import TMP

from pyrovae import evidence, guides, models, objectives
from pyrovae.cli import main
from pyrovae.data import Array, Digits
from pyrovae.experiment import load
from pyrovae.fit import fit
from pyrovae.log_weights import log_weights
from pyrovae.publishing import load_model, publish
from pyrovae.records import OutputFolder
from pyrovae.running.config import Config
from pyrovae.storage.run_folder import RunFolder
from pyrovae.svi import SVI

X = torch.rand(20, 6)
ADAM = functools.partial(torch.optim.Adam, lr=1e-3)


def pair(**options: Any) -> tuple[Any, Any]:
    """A model and a guide that fit together."""
    return models.VAE(6, latent=2, hidden=(4,), **options), guides.Amortized(6, 2, hidden=(4,))


def train(x: Any = X, objective: Any = None, parts: Any = None, **options: Any) -> Any:
    """A short fit."""
    model, guide = parts or pair()
    return fit(model, guide, x, objective, **{"epochs": 1, "progress": False, **options})


def changed(index: tuple[int, int], value: float) -> torch.Tensor:
    """X with one other value."""
    x = X.clone()
    x[index] = value
    return x


def misses(x: Any, index: Any = None, size: Any = None) -> None:
    """A guide without the latent site."""
    with pyro.plate("data", len(x), dim=-1):
        pass


def too_many(x: Any, index: Any = None, size: Any = None) -> None:
    """A guide with a site too many."""
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("y", dist.Normal(0.0, 1.0))


def other_plate(x: Any, index: Any = None, size: Any = None) -> None:
    """A guide with another plate."""
    with pyro.plate("rows", len(x), dim=-1):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def outside(x: Any) -> Any:
    """A latent outside the plate, which has no weight for each row."""
    scale = pyro.sample("scale", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(scale, 1.0).expand((6,)).to_event(1), obs=x)


def outside_guide(x: Any) -> None:
    """Its guide."""
    pyro.sample("scale", dist.Normal(0.0, 1.0))


Call = Callable[[], Any]
LIBRARY: dict[str, tuple[Call, str]] = {
    "no rows": (lambda: train(X[:0]), "is empty"),
    "an infinite value": (
        lambda: train(changed((3, 1), math.inf)),
        "infinite values in 1 of 20 rows .*row 3",
    ),
    "one row, not a table": (lambda: train(X[0]), "must have the shape"),
    "three dimensions": (lambda: train(X[None]), "must have the shape"),
    "text": (lambda: train(np.array([["a", "b"]])), "must be numbers"),
    "too few columns": (lambda: train(X[:, :5]), "5 features, the model was made for 6"),
    "infinite validation rows": (
        lambda: train(validation=changed((0, 0), -math.inf)),
        "validation data has infinite",
    ),
    "validation rows beside a data set": (
        lambda: train(Digits(), parts=(models.VAE(64), guides.Amortized(64, 10)), validation=X),
        "validation rows of its own",
    ),
    "grey pixels for Bernoulli": (
        lambda: train(parts=pair(likelihood="bernoulli")),
        "other than 0 and 1",
    ),
    "values beyond [0, 1] for continuous Bernoulli": (
        lambda: train(2 * X, parts=pair(likelihood="continuous_bernoulli")),
        "\\[0, 1\\]|between 0 and 1|from 0 to 1|outside",
    ),
    "a guide without the site": (
        lambda: train(parts=(pair()[0], misses)),
        "misses the latent site 'z'",
    ),
    "a guide with one too many": (
        lambda: train(parts=(pair()[0], too_many)),
        "that the model has not",
    ),
    "a guide with another plate": (
        lambda: train(parts=(pair()[0], other_plate)),
        "plates|same plate",
    ),
    "another latent size": (
        lambda: train(parts=(pair()[0], guides.Amortized(6, 3))),
        "latent=3, the model has latent=2",
    ),
    "epochs 0": (lambda: train(epochs=0), "epochs must be a whole number of at least 1"),
    "epochs 1.5": (lambda: train(epochs=1.5), "epochs must be a whole number"),
    "batch_size -1": (lambda: train(batch_size=-1), "batch_size must be"),
    "batch_size True": (lambda: train(batch_size=True), "batch_size must be"),
    "patience 0": (lambda: train(patience=0, validation=X), "patience must be"),
    "patience without rows": (lambda: train(patience=2), "patience needs rows to validate on"),
    "seed 1.5": (lambda: train(seed=1.5), "seed must be a whole number"),
    "seed -1": (lambda: train(seed=-1), "seed must not be negative"),
    "clip_norm 0": (lambda: train(clip_norm=0.0), "clip_norm is 0.0"),
    "an objective that was not called": (
        lambda: train(objective=objectives.ELBO),
        "objective must be an instance",
    ),
    "a number for an objective": (lambda: train(objective=3), "objective must be an instance"),
    "a scheduler for Pyro's optimiser": (
        lambda: train(optim=pyro.optim.Adam({}), scheduler=print),
        "scheduler goes with",
    ),
    "resume without a folder": (lambda: train(resume=True), "resume needs run_dir"),
    "a level that is none": (lambda: train(level="fast"), "level is 'fast'"),
    "alpha 1": (lambda: objectives.Renyi(alpha=1.0), "ELBO"),
    "alpha NaN": (lambda: objectives.Renyi(alpha=math.nan), "ELBO|number"),
    "no particles": (lambda: objectives.IWAE(num_particles=0), "num_particles is 0"),
    "particles 2.5": (lambda: objectives.IWAE(num_particles=2.5), "num_particles is 2.5"),
    "an unknown gradient": (lambda: objectives.IWAE(gradient="magic"), "gradient is 'magic'"),
    "groups that do not divide": (
        lambda: objectives.MIWAE(num_particles=5, groups=2),
        "divides|divide",
    ),
    "latent 0": (lambda: models.VAE(6, latent=0), "at least 1"),
    "components 0": (lambda: models.GaussianMixture(6, components=0), "at least 1"),
    "more components than rows": (
        lambda: models.GaussianMixture(6, components=30).initialise(X),
        "at least one row for each",
    ),
    "an unknown likelihood": (lambda: models.VAE(6, likelihood="odd"), "known"),
    "a scale that does not apply": (
        lambda: models.VAE(6, likelihood="bernoulli", scale=0.1),
        "scale",
    ),
    "an unknown covariance": (
        lambda: models.GaussianMixture(6, covariance="odd"),
        "known|diagonal",
    ),
    "an unknown family": (lambda: guides.Amortized(6, 2, family="odd"), "known"),
    "an exact posterior of a VAE": (
        lambda: guides.ExactPosterior(pair()[0]),
        "closed-form posterior",
    ),
    "a table without rows": (lambda: guides.PerDatapoint(0, 2), "at least one row"),
    "a table asked for other rows": (
        lambda: log_weights(pair()[0], guides.PerDatapoint(20, 2), X[:3], num_particles=2),
        "pass the rows' numbers|refit",
    ),
    "a latent that no row has": (
        lambda: log_weights(outside, outside_guide, X, num_particles=2),
        "outside the plate|outside",
    ),
    "chunks of 0": (
        lambda: evidence.ImportanceSampling(chunk_size=0)(*pair(), X),
        "chunk_size",
    ),
    "an unknown form": (lambda: Digits("grai"), "grey|known"),
    "an option of another form": (lambda: Digits("grey", binarisation="static"), "binarisation"),
    "data outside the form": (
        lambda: Array(np.full((10, 2), 300.0), "dequantized", levels=256),
        "between 300|needs values",
    ),
    "shares that are no split": (lambda: Array(np.ones((10, 2)), split=(1, 1, 1)), "sum to 1"),
    "a file that is not there": (lambda: Array("/nowhere.npy"), "nowhere.npy"),
    "a loss that is none": (lambda: SVI(*pair(), ADAM, loss=3), "it must be an objective"),
    "an optimiser that is none": (lambda: SVI(*pair(), 3, objectives.ELBO()), "optim is a int"),
    "an unknown key": (lambda: Config.from_yaml("modle: VAE"), "no 'modle'; did you mean"),
    "YAML that is none": (lambda: Config.from_yaml("a: [1"), "not readable YAML"),
    "a list for a configuration": (lambda: Config.from_yaml("- 1"), "must be a mapping"),
    "a folder that is no run": (
        lambda: load(RunFolder(Path("/nowhere"))),
        "is not the folder of a run",
    ),
    "a folder that is no output": (
        lambda: OutputFolder.open("/nowhere"),
        "is not an output folder",
    ),
    "a run that is not finished": (
        lambda: publish("/nowhere", "/tmp/x"),
        "not the folder of a finished run",
    ),
    "a model that is not there": (lambda: load_model("/nowhere"), "There is no checkpoint"),
    "a name that is no run's": (
        lambda: OutputFolder(Path("x")).run("../up"),
        "name starts with a letter",
    ),
}

COMMANDS: dict[str, str] = {
    "compar": "known: compare, fit",
    "fit --model VEA": "did you mean VAE\\?",
    "fit --model": "--model needs a name",
    "fit --model nowhere.Mine": "cannot be imported",
    "fit --model os.system": "has no class",
    "fit --model subprocess.Popen": "is not a model",
    "fit --modle VAE": "did you mean --model\\?",
    "fit VAE": "Unknown argument 'VAE'",
    "fit --model.latnt 3": "did you mean latent\\?",
    "fit --model.features 3": "follows from the data",
    "fit --model.latent x": "must be a whole number; got x",
    "fit --model.latent 0": "at least 1",
    "fit --model GaussianMixture --model.components 0": "at least 1",
    "fit --model VAE --guide ExactPosterior": "closed-form posterior",
    "fit --model.likelihood bernoulli": "binarise them",
    "fit --objective Renyi --objective.alpha 1": "objectives.ELBO",
    "fit --objective Renyi --objective.alpha nan": "number|ELBO",
    "fit --objective.num_particles 0": "at least 1",
    "fit --seed 1.5": "whole number",
    "fit --seed -1": "at least 0",
    "fit --fit.epochs 0": "at least 1",
    "fit --device nowhere": "cannot be used",
    "fit --config nowhere.yaml": "cannot be read",
    "fit --resume nowhere": "is not the folder of a run",
    "fit --resume": "expected one argument|needs|see",
    "fit --resume RUN --model VAE": "goes on with the options that it began with",
    "fit --checkpoint_steps x": "whole number|--checkpoint_steps",
    "fit --fit.patience 3 --guide PerDatapoint": "cannot score rows",
    "evaluate": "Name the folder of a run first",
    "evaluate nowhere": "is not the folder of a run",
    "publish": "required",
    "publish nowhere there": "not the folder of a finished run",
    "report": "required",
    "report nowhere": "is not an output folder",
    "list modls": "did you mean models\\?",
    "compare --models VEA": "did you mean VAE\\?",
    "compare --epochs 0": "at least 1",
    "compare --jobs 0": "at least 1",
    "compare --seeds x": "whole number",
    "fit --output=occupied": "did not write|files",
    "fit --output=file": "is a file",
}


def mistakes(quick: bool) -> list[Figure]:
    """Each by its sentence; no traceback, one line, and status 2 on the command line."""
    step = 4 if quick else 1
    library = dict(list(LIBRARY.items())[::step])
    commands = dict(list(COMMANDS.items())[::step])
    right = sum(_library(name, *case) for name, case in library.items())
    here = os.getcwd()
    with tempfile.TemporaryDirectory(dir=TMP) as place:
        os.chdir(place)
        try:
            Path("occupied").mkdir()
            Path("occupied/thesis.txt").write_text("mine")
            Path("file").write_text("mine")
            said = sum(_command(words, sentence) for words, sentence in commands.items())
        finally:
            os.chdir(here)
    return [
        Figure("bad inputs to the library answered with their sentence", right, len(library)),
        Figure("bad inputs to the command line answered with their sentence", said, len(commands)),
    ]


def _library(name: str, call: Call, sentence: str) -> bool:
    try:
        call()
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        text = str(error).partition("\nTrace Shapes:")[0]
        if re.search(sentence, text) and len(text) < 600:
            return True
        print(f"    {name}: {text[:200]}")
        return False
    except Exception as error:
        print(f"    {name}: {type(error).__name__}: {str(error)[:200]}")
        return False
    print(f"    {name}: accepted")
    return False


def _command(words: str, sentence: str) -> bool:
    said, shown = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
        status = main(words.split())
    line = said.getvalue()
    right = status == 2 and bool(re.search(sentence, line)) and line.count("\n") == 1
    if not right or "Traceback" in line:
        print(f"    {words}: {status}: {line.strip()[:200]}")
    return right and "Traceback" not in line


__all__ = ["SMALL", "mistakes"]
