"""The configuration of one run: everything needed to repeat it, as YAML and back."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pyrovae.fit import fit
from pyrovae.registry.parts import complete, did_you_mean, options, public_name
from pyrovae.registry.plain import is_plain, mapping, plain, to_yaml, whole_number
from pyrovae.running.evaluation import evaluate
from pyrovae.sources.fingerprints import fingerprint


@dataclass(frozen=True)
class Part:
    """A part by name, and its options.

    Args:
        name: a public name, or the dotted path of a class.
        options: keyword arguments of its constructor.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, kind: str, value: Any) -> Part:
        """A part from a name, from ``{name: ..., option: ...}``, or from class_path and init_args.

        >>> Part.read("model", {"name": "VAE", "latent": 16})
        Part(name='VAE', options={'latent': 16})
        """
        if isinstance(value, Part):
            return value
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, Mapping):
            rest = dict(value)
            if "class_path" in rest:
                return cls(rest["class_path"], dict(rest.get("init_args") or {}))
            if "name" in rest:
                return cls(rest.pop("name"), rest)
        raise ValueError(
            f"The {kind} must be a name, or a mapping with `name` and options; got {value!r}."
        )

    def plain(self) -> dict[str, Any]:
        """The part as a mapping of plain values, which `read` turns back into it.

        >>> Part("Array", {"name": "trees"}).plain()
        {'class_path': 'Array', 'init_args': {'name': 'trees'}}
        """
        options = self.plain_options()
        if {"name", "class_path"}.isdisjoint(options):
            return {"name": self.name, **options}
        return {"class_path": self.name, "init_args": options}

    def plain_options(self) -> dict[str, Any]:
        """The options in types that YAML and JSON share."""
        options: dict[str, Any] = plain(self.options)
        return options


@dataclass(frozen=True)
class Config:
    """One run: which parts, with which options, from which seed.

    Args:
        data: the data set.
        model: p(x, z).
        guide: q(z | x).
        objective: what is maximised.
        optim: an optimiser of `torch.optim`.
        scheduler: a learning-rate schedule of `torch.optim.lr_scheduler`, stepped once an epoch, or None.
        evidence: how the log evidence of the test rows is estimated.
        fit: options of `pyrovae.fit`: epochs, batch_size, patience, ...
        evaluate: options of `pyrovae.experiment.evaluate`.
        seed: a whole number; two runs with equal configurations and versions give equal results.
        device: where to compute, such as ``cpu`` or ``cuda``.
    """

    data: Part = Part("Digits")
    model: Part = Part("VAE")
    guide: Part = Part("Amortized")
    objective: Part = Part("ELBO")
    optim: Part = Part("Adam", {"lr": 1e-3})
    scheduler: Part | None = None
    evidence: Part = Part("ImportanceSampling")
    fit: Mapping[str, Any] = field(default_factory=dict)
    evaluate: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "cpu"

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Config:
        """A configuration from nested mappings, as YAML holds them; what they leave out is the default.

        Raises:
            ValueError: an unknown key, a part without a name, or a seed that is no whole number.
        """
        return cls().updated(values)

    @classmethod
    def from_yaml(cls, text: str) -> Config:
        """The configuration that `to_yaml` wrote, or one that a person did.

        Raises:
            ValueError: the text is not YAML, or not a configuration.
        """
        return cls.read(mapping(text))

    def updated(self, values: Mapping[str, Any]) -> Config:
        """This configuration with some entries replaced; sections of options are merged.

        Raises:
            ValueError: as `read`.
        """
        known = [f.name for f in fields(self)]
        read: dict[str, Any] = {}
        for key, value in values.items():
            if key not in known:
                raise ValueError(
                    f"A configuration has no {key!r}{did_you_mean(str(key), known)} "
                    f"Known: {', '.join(known)}."
                )
            if key in PART_KINDS:
                none = value is None and key == "scheduler"
                read[key] = None if none else Part.read(key, value)
            elif key == "seed":
                read[key] = whole_number("seed", value, least=0)
            elif key == "device":
                read[key] = str(value)
            elif isinstance(value, Mapping):
                read[key] = {**getattr(self, key), **value}
            else:
                raise ValueError(f"The section {key!r} must hold options; got {value!r}.")
        return replace(self, **read)

    def plain(self) -> dict[str, Any]:
        """Nested mappings of plain values, which `read` turns back into an equal configuration."""
        read = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v.plain() if isinstance(v, Part) else plain(v) for k, v in read.items()}

    def to_yaml(self) -> str:
        """YAML that `from_yaml` turns back into an equal configuration.

        >>> config = Config(model=Part("VAE", {"hidden": (64, 64)}), seed=3)
        >>> Config.from_yaml(config.to_yaml()).to_yaml() == config.to_yaml()
        True
        """
        return to_yaml(self.plain())

    def complete(self) -> Config:
        """The same run with public names, every option's default and the data's fingerprint written out.

        Raises:
            TypeError: an option that a part does not have.
            ValueError: an unknown name.
        """
        whole_number("seed", self.seed, least=0)
        sections: dict[str, Any] = {
            "fit": _section("fit", fit, self.fit),
            "evaluate": _section("evaluate", evaluate, self.evaluate),
        }
        parts: dict[str, Any] = {}
        for kind in PART_KINDS:
            part = getattr(self, kind)
            if kind == "scheduler" and part is not None:
                part = _with_length(part, sections["fit"]["epochs"])
            if part is not None:
                name = public_name(kind, part.name)
                chosen = complete(kind, name, part.options)
                if chosen.get("fingerprint", "") is None:  # what the data are now
                    chosen["fingerprint"] = fingerprint(chosen.get("source"))
                kept = {k: v for k, v in chosen.items() if k in part.options or is_plain(v)}
                parts[kind] = Part(name, plain(kept))
        return replace(self, **parts, **sections)

    @property
    def digest(self) -> str:
        """Eight characters that differ whenever two configurations do."""
        canonical = json.dumps(self.plain(), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:8]

    @property
    def run_name(self) -> str:
        """The name of the run's folder: parts a person looks for, and the digest."""
        parts = (self.model, self.guide, self.objective)
        words = [part.name.rpartition(".")[2].replace("_", "") for part in parts]
        return "-".join([*words, f"seed{self.seed}", self.digest])


# Options of these functions that a configuration sets: the rest follow from its other entries.
SECTIONS = {
    "fit": (
        "epochs",
        "batch_size",
        "shuffle",
        "patience",
        "validate_every",
        "clip_norm",
        "row_lr",
        "precision",
    ),
    "evaluate": ("elbo_particles", "refit_steps"),
}
LEAST = {"elbo_particles": 2}
PART_KINDS = ("data", "model", "guide", "objective", "optim", "scheduler", "evidence")

# Checked by the fit; all others are whole numbers.
BY_THE_FIT = ("shuffle", "clip_norm", "row_lr", "precision")


def _section(name: str, function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options given, and the defaults of the rest."""
    known = SECTIONS[name]
    for key in given:
        if key not in known:
            raise TypeError(
                f"`{name}` has no option {key!r}{did_you_mean(key, known)} Its options: {', '.join(known)}."
            )
    parameters = inspect.signature(function).parameters
    chosen = {key: given.get(key, parameters[key].default) for key in known}
    for key, value in chosen.items():
        if key not in BY_THE_FIT and (value is not None or parameters[key].default is not None):
            whole_number(key, value, least=LEAST.get(key, 1))
    return chosen


def _with_length(scheduler: Part, epochs: int) -> Part:
    """A schedule that must know how long it runs lasts as long as the fit, unless told otherwise."""
    asks = [k for k in ("T_max", "total_steps") if k in options("scheduler", scheduler.name)]
    return replace(scheduler, options=dict.fromkeys(asks, epochs) | dict(scheduler.options))
