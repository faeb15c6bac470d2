"""Trained models as folders for others: safetensors, JSON and a model card; no code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from pyrovae import checkpoint
from pyrovae.evidence import ImportanceSampling
from pyrovae.experiment import Experiment, load
from pyrovae.programs import RowGuide
from pyrovae.publication.card import card, in_words
from pyrovae.publication.export import export
from pyrovae.refit import refit
from pyrovae.registry.parts import build, is_path
from pyrovae.running.config import Part
from pyrovae.running.evaluation import rows_of_part
from pyrovae.sampling.psis import k_hat, threshold
from pyrovae.storage.files import read_json, write_atomically, write_json
from pyrovae.storage.run_folder import RunFolder

FILE = "model.safetensors"
DRAWS = 1000
ROWS = 500


@dataclass(frozen=True)
class Published:
    """A model of somebody's, ready for use; unpacks as ``model, guide, record``.

    Args:
        model: p(x, z), with its parameters.
        guide: q(z | x), with its parameters.
        record: of the run that made it: data, objective, evidence with its error, and so on.
    """

    model: Any
    guide: Any
    record: dict[str, Any]

    def __iter__(self) -> Any:
        return iter((self.model, self.guide, self.record))


def publish(run: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Turn a finished run into a folder that others can load.

    Args:
        run: the folder of a run, such as ``results/runs/NAME``.
        folder: a new or empty folder.

    Returns:
        Its path. In it are ``model.safetensors`` and ``model.json`` (parameters, what they belong to, and
        their SHA-256), ``record.json``, ``README.md`` (the model card), and, where model and guide allow,
        ``encoder.pt2`` and ``decoder.pt2``, which torch runs without Pyro.

    Raises:
        ValueError: the run is not finished, or the folder holds something.
    """
    source, target = RunFolder(Path(run)), Path(folder)
    if source.finished() is None:
        raise ValueError(
            f"{source.path} is not the folder of a finished run: finish it with `pyrovae fit --resume`"
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} is there and not empty: name a new folder")
    experiment = load(source)
    record: dict[str, Any] = dict(source.record())
    target.mkdir(parents=True, exist_ok=True)
    try:
        _write(experiment, record, target)
    except BaseException:  # Ctrl-C and a full disk too: the same command shall find an empty folder
        for path in target.iterdir():
            path.unlink()
        raise
    return target


def _write(experiment: Experiment, record: Mapping[str, Any], target: Path) -> None:
    model, guide, estimator = experiment.model, experiment.guide, experiment.config.evidence
    checkpoint.save(
        target / FILE,
        checkpoint.parameters(model=model, guide=guide),
        {"of": "a published model", "parts": _parts(experiment), "sizes": _sizes(experiment)},
    )
    write_json(target / "record.json", record)
    text = card(
        record,
        folder=target.absolute().name,
        features=experiment.data.features,
        evidence=in_words(estimator.name, estimator.plain_options()),
        k_hat=_k_hat(experiment),
        programs=export(model, guide, target),
    )
    write_atomically(target / "README.md", text.encode())


def load_model(folder: str | os.PathLike[str], *, own_parts: bool = False) -> Published:
    """Load a model that somebody published; nothing in the folder can run code.

    Args:
        folder: as `publish` wrote it.
        own_parts: also take models and guides that are not of this package: classes that are installed
            here, and named in the folder by their dotted paths. Say so only if you trust these classes.

    Returns:
        A `Published`: model, guide and record, with the model and the guide in evaluation mode.

    Raises:
        ValueError: the folder holds no such model, it is damaged, or its parts are not of this package.
    """
    path = Path(folder)
    tensors, metadata = checkpoint.load(path / FILE)
    record = read_json(path / "record.json")
    try:
        found = {kind: Part.read(kind, metadata["parts"][kind]) for kind in ("model", "guide")}
        sizes = {str(key): int(value) for key, value in metadata["sizes"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path / FILE} is not a published model: {error} is missing") from error
    for kind, part in found.items():
        if not own_parts and is_path(part.name):
            raise ValueError(
                f"the {kind} in {path} is {part.name}, a class that is not of this package: if you have it "
                "installed and trust it, say own_parts=True"
            )
    of_model: dict[str, int] = {key: sizes[key] for key in ("features", "size") if key in sizes}
    model = _made("model", found["model"], of_model)
    guide = _made("guide", found["guide"], sizes, model=model)
    checkpoint.restore(tensors, model=model, guide=guide)
    return Published(model.eval(), guide.eval(), record)


def _made(kind: str, part: Part, sizes: dict[str, int], **available: nn.Module) -> nn.Module:
    try:
        with torch.random.fork_rng():
            made: nn.Module = build(kind, part.name, part.options, **sizes, **available)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"the {kind} {part.name} cannot be made as it was: {error}") from error
    return made


def _parts(experiment: Experiment) -> dict[str, Any]:
    return {kind: getattr(experiment.config, kind).plain() for kind in ("model", "guide")}


def _sizes(experiment: Experiment) -> dict[str, int]:
    sizes = {"features": experiment.data.features, "size": len(experiment.data.train)}
    latent = getattr(experiment.model, "latent", None)
    return sizes | ({"latent": latent} if isinstance(latent, int) else {})


def _k_hat(experiment: Experiment) -> str:
    """In words, from the first test rows."""
    model, guide, seed = experiment.model, experiment.guide, experiment.config.seed
    x = rows_of_part(model, experiment.data, "test")[:ROWS]
    own = refit(model, guide, x, seed=seed) if isinstance(guide, RowGuide) else guide
    drawn = ImportanceSampling(num_particles=DRAWS, keep=True)(model, own, x, seed=seed).log_weights
    shapes = k_hat(cast(Tensor, drawn))
    limit = threshold(DRAWS)
    bad = int((shapes > limit).sum())
    return f"{bad} of {len(x)} (k-hat above {limit:.2f} with {DRAWS} draws)"
