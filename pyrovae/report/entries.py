"""Records, grouped for reading: one `Comparison` per data set, one `Entry` per row of its table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyrovae.records import OutputFolder, Record, RunFolder

Part = Literal["model", "guide", "objective"]
PARTS: tuple[Part, ...] = ("model", "guide", "objective")


class Number(NamedTuple):
    """A value and its standard error (NaN where there is none), in the same unit."""

    value: float
    error: float = math.nan


@dataclass(frozen=True, eq=False)
class Entry:
    """Finished runs that differ in nothing but their seed: one row of the table."""

    model: str
    guide: str
    objective: str
    records: tuple[Record, ...]
    runs: tuple[RunFolder, ...]

    @property
    def label(self) -> str:
        """The entry in words: model, guide, objective."""
        return f"{self.model}, {self.guide}, {self.objective}"

    @property
    def algorithm(self) -> str:
        """The inference algorithm in words: guide and objective."""
        return f"{self.guide} with {self.objective}"

    @property
    def evidence(self) -> Number | None:
        """The best known log evidence: exact where there is one, else the estimate."""
        return self.mean("exact_log_evidence") or self.estimate

    @property
    def seed_error(self) -> float:
        """The standard error over seeds of the mean log evidence; 0 where one seed tells nothing."""
        key = "test_log_evidence"
        values = [v for record in self.records if (v := _finite(record.get(key))) is not None]
        return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0

    @property
    def estimate(self) -> Number | None:
        """The estimate of the log evidence."""
        return self.mean("test_log_evidence", "test_log_evidence_se")

    @property
    def elbo(self) -> Number | None:
        """The ELBO on the test rows."""
        return self.mean("test_elbo", "test_elbo_se")

    def mean(self, key: str, error_key: str = "") -> Number | None:
        """The mean over seeds of a number in the records, None where no record has it.

        Its standard error is that of one run if there is one, and for several seeds the larger
        of their spread over the square root of their count and what their own errors add up to.
        """
        read = [(_finite(r.get(key)), _finite(r.get(error_key))) for r in self.records]
        values = [value for value, _ in read if value is not None]
        if not values:
            return None
        own = [error for value, error in read if value is not None and error is not None]
        error = math.hypot(*own) / len(values) if len(own) == len(values) else math.nan
        if len(values) > 1:
            error = float(np.fmax(error, np.std(values, ddof=1) / math.sqrt(len(values))))
        return Number(float(np.mean(values)), error)

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of the first run, whose pictures stand for the entry; empty if unreadable."""
        return _arrays(self.runs[0]) if self.runs else {}

    @cached_property
    def rows(self) -> NDArray[np.float64] | None:
        """The log evidence of each test row, (N,) nats, mean over seeds; None if not recorded."""
        found = [_arrays(run).get("test_log_evidence") for run in self.runs]
        kept = [np.asarray(rows, float) for rows in found if rows is not None]
        same = len(kept) == len(found) > 0 and len({rows.shape for rows in kept}) == 1
        return np.mean(kept, axis=0) if same else None


@dataclass(frozen=True)
class Comparison:
    """Everything that was run on one data set, so that its numbers may be compared."""

    data: dict[str, Any]
    entries: tuple[Entry, ...]  # best log evidence first
    unfit: tuple[Record, ...]  # failed and unfinished runs

    @property
    def models(self) -> list[str]:
        """The models, the one with the best entry first."""
        return list(dict.fromkeys(entry.model for entry in self.entries))

    def best(self) -> list[Entry]:
        """The best entry of each model, the best of all first."""
        firsts = {entry.model: entry for entry in reversed(self.entries)}
        return [firsts[model] for model in self.models]


def read(folder: OutputFolder) -> list[Comparison]:
    """The comparisons that an output folder holds, pictures and all."""
    return compare(folder.records(), {run.name: run for run in folder.runs()})


def compare(
    records: Iterable[Record], runs: dict[str, RunFolder] | None = None
) -> list[Comparison]:
    """Group records by data set, then by everything but the seed; sort by log evidence.

    Args:
        records: in any order, finished or not.
        runs: the folder of each run by name, for what is not in its record.
    """
    runs = runs or {}
    finished: dict[str, list[Record]] = {}
    unfit: dict[str, list[Record]] = {}
    for record in records:
        kind = finished if record.get("status", "finished") == "finished" else unfit
        kind.setdefault(_key(record.get("data")), []).append(record)
    if len(finished) == 1:  # runs too broken to name their data belong to the only comparison
        unfit = {next(iter(finished)): [r for group in unfit.values() for r in group]}
    comparisons = []
    for key in dict.fromkeys([*finished, *unfit]):
        done, rest = finished.get(key, []), unfit.get(key, [])
        data = [*done, *rest][0].get("data") or {}
        comparisons.append(Comparison(data, tuple(_entries(done, runs)), tuple(rest)))
    return comparisons


def _entries(records: Sequence[Record], runs: dict[str, RunFolder]) -> list[Entry]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(_key([_fitted(record), record.get("settings")]), []).append(record)
    entries = []
    for group in groups.values():
        group.sort(key=lambda record: (record.get("seed") or 0, record.get("name", "")))
        names = [record.get("name", "") for record in group]
        model, guide, objective = (part_label(group[0], part, records) for part in PARTS)
        objective = ", ".join([objective, *_told_settings(group[0], records)])
        kept = tuple(runs[name] for name in names if name in runs)
        entries.append(Entry(model, guide, objective, tuple(group), kept))
    return sorted(entries, key=_rank)


def part_label(record: Record, part: Part, among: Iterable[Record]) -> str:
    """The part's public name, with the options that tell it from others of that name.

    An objective's alpha is always given: it says which bound it is. A guide is told from others of the
    same model alone, since what suits one model's size says nothing beside another.
    """
    name, options = record.get(part) or "unknown", part_options(record, part)
    same = ("model", "guide") if part == "guide" else (part,)
    others = [
        part_options(other, part)
        for other in among
        if all(other.get(key) == record.get(key) for key in same)
    ]
    told = [
        f"{key}={_short(value)}"
        for key, value in options.items()
        if key == "alpha" or len({_key(other.get(key)) for other in others}) > 1
    ]
    return f"{name}({', '.join(told)})" if told else name


def _fitted(record: Record) -> list[Any]:
    """What was fitted to what: the parts and their options."""
    return [(record.get(part), part_options(record, part)) for part in PARTS]


def _told_settings(record: Record, among: Iterable[Record]) -> list[str]:
    """The settings that tell a run from others of the same parts with the same options."""
    fitted, own = _fitted(record), record.get("settings") or {}
    others = [s for r in among if (s := r.get("settings")) and _fitted(r) == fitted]
    told = _differing(own, others)
    for section in {key.partition(".")[0] for key in told if key.endswith(".name")}:
        # What another optimiser has as options says nothing beside the names of the two.
        alike = [s for s in others if s.get(f"{section}.name") == own.get(f"{section}.name")]
        kept = {f"{section}.name", *_differing(own, alike)}
        told = [key for key in told if key.partition(".")[0] != section or key in kept]
    # A schedule that lasts as long as the fit is told by the length of the fit.
    long = [key for key in told if key.startswith("scheduler.")]
    long = [k for k in long if all(s.get(k) in (None, s.get("fit.epochs")) for s in others)]
    return [f"{key}={_short(own[key])}" for key in told if key not in long]


def _differing(own: Mapping[str, Any], among: Sequence[Mapping[str, Any]]) -> list[str]:
    return [key for key in own if len({_key(other.get(key)) for other in among}) > 1]


def _rank(entry: Entry) -> tuple[float, str]:
    evidence = entry.evidence
    return (-evidence.value if evidence else math.inf, entry.label)


def part_options(record: Record, part: Part) -> dict[str, Any]:
    """The options that the part was given."""
    options = {
        "model": record.get("model_options"),
        "guide": record.get("guide_options"),
        "objective": record.get("objective_options"),
    }[part]
    return options or {}


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value).replace('"', "'")


def _finite(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None


def _arrays(run: RunFolder) -> dict[str, NDArray[Any]]:
    try:
        return run.arrays()
    except ValueError:
        return {}
