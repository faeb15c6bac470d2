"""The record of a run: what was run, and how it ended."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, cast

import pyrovae
from pyrovae.records import Record
from pyrovae.registry.plain import plain
from pyrovae.running.config import PART_KINDS, Config
from pyrovae.training.history import History

LONGEST = 400
SETTINGS = ("optim", "scheduler", "fit", "evidence", "evaluate")  # and not what is fitted to what


def success(
    config: Config,
    name: str,
    data: Mapping[str, Any],
    history: History,
    summary: Mapping[str, float | None],
    *,
    train_seconds: float,
    evaluate_seconds: float,
) -> Record:
    """The record of a run that finished.

    Args:
        config: what was run.
        name: of the run's folder.
        data: what the data set says of itself.
        history: of the fit.
        summary: of the evaluation.
        train_seconds: wall clock of initialising and fitting.
        evaluate_seconds: wall clock of scoring the test rows.
    """
    found = {
        "name": name,
        "status": "finished",
        "error": None,
        **identity(config),
        **summary,
        "data": dict(data),
        "train_seconds": train_seconds,
        "evaluate_seconds": evaluate_seconds,
        "parameters": history.parameters,
        "epochs": int(history.epoch[-1]),
        "steps": int(history.step[-1]),
    }
    return cast(Record, found)


def failure(config: Config, name: str, error: BaseException) -> Record:
    """The record of a run that failed, with the reason in a sentence."""
    # What Pyro and torch append (shapes, tensors) is for developers.
    sentence = " ".join(str(error).partition("\nTrace Shapes:")[0].split()) or type(error).__name__
    sentence = sentence if len(sentence) <= LONGEST else f"{sentence[:LONGEST]} ..."
    if not isinstance(error, ValueError | TypeError | FloatingPointError | OSError):
        sentence = f"{type(error).__name__}: {sentence}"
    found = {"name": name, "status": "failed", "error": sentence, **identity(config)}
    return cast(Record, found)


def identity(config: Config) -> dict[str, Any]:
    """What was run, as a record says it."""
    named = {kind: getattr(config, kind) for kind in ("model", "guide", "objective")}
    found: dict[str, Any] = {kind: part.name for kind, part in named.items()}
    found |= {f"{kind}_options": _finite(part.plain_options()) for kind, part in named.items()}
    packages = {"torch": "torch", "pyro": "pyro-ppl", "numpy": "numpy"}
    versions = {name: version(package) for name, package in packages.items()}
    versions |= {"pyrovae": pyrovae.__version__, "python": platform.python_version()}
    found |= {"settings": settings(config), "data": config.data.plain()}
    return found | {"seed": config.seed, "versions": versions}


def settings(config: Config) -> dict[str, Any]:
    """How a run is trained and scored, by the names that the command line has for it.

    >>> settings(Config().complete())["optim.lr"]
    0.001
    """
    found: dict[str, Any] = {}
    for section in SETTINGS:
        given: Any = getattr(config, section)
        if section in PART_KINDS:
            named = {"name": given.name if given else "none"}
            given = named | dict(given.options if given else {}) | named
        found |= {f"{section}.{key}": value for key, value in _finite(plain(given)).items()}
    return found | {"device": config.device}


def _finite(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON holds them: an infinite one, such as a nesting to be guessed, as a word."""
    infinite = (math.inf, -math.inf)
    return {key: str(v) if v in infinite else v for key, v in options.items()}


def label(config: Config) -> str:
    """The parts of a run in a few words."""
    return " + ".join(
        part.name.rpartition(".")[2] for part in (config.model, config.guide, config.objective)
    )
