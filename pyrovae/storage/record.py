"""The result of one run: its fields, and whether what a file holds is one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict, cast, get_args, get_origin, get_type_hints

Status = Literal["finished", "failed", "unfinished"]


class Record(TypedDict, total=False):
    """The result of one run. Bounds and evidences: nats per datapoint, larger is better."""

    name: str  # the run's folder name; required
    status: Status  # required; "unfinished" is given to runs that have no record.json yet
    error: str | None  # a sentence, if the run failed
    data: dict[str, Any]  # what `DataSet.describe()` returned: name, form, rows, split_seed, ...
    model: str  # public name
    guide: str  # public name
    objective: str  # public name
    model_options: dict[str, Any]
    guide_options: dict[str, Any]
    objective_options: dict[str, Any]
    settings: dict[str, Any]  # how it was trained and scored, by dotted name: optim.lr, ...
    seed: int
    test_elbo: float | None  # mean over test rows
    test_elbo_se: float | None  # Monte Carlo standard error of that mean, these rows given
    test_log_evidence: float | None  # an estimate, mean over test rows
    test_log_evidence_se: float | None  # Monte Carlo standard error of that mean
    exact_log_evidence: float | None  # closed form, mean over test rows; None if there is none
    inference_gap: float | None  # log evidence less ELBO, nats per datapoint
    train_seconds: float | None  # wall clock
    evaluate_seconds: float | None  # wall clock
    parameters: int | None  # count of trained numbers
    epochs: int | None
    steps: int | None
    k_hat_bad_share: float | None  # share of test rows whose Pareto k-hat exceeds 0.7
    command: str | None  # what to type to get this run again
    versions: dict[str, str]  # package name -> version
    not_finite: list[str]  # keys whose value was NaN or infinite, written here as None


def as_record(value: Any, path: Path) -> Record:
    """What a file holds, if it is a record; keys that a record does not have are left alone.

    Args:
        value: as read from JSON.
        path: of the file.

    Raises:
        ValueError: it is none, or a field of it has a value of another type.

    Example:
        >>> as_record({"status": "finished", "seed": "one"}, Path("record.json"))
        Traceback (most recent call last):
        ValueError: record.json is not a record: its seed is 'one'.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not a record: expected an object, with a status.")
    for key, types in _types().items():
        found = value.get(key)
        if found is not None and (not isinstance(found, types) or isinstance(found, bool)):
            raise ValueError(f"{path} is not a record: its {key} is {found!r}.")
    return cast(Record, value)


@cache
def _types() -> dict[str, tuple[type, ...]]:
    """What the values of a record may be, by key."""
    return {key: tuple(_classes(hint)) for key, hint in get_type_hints(Record).items()}


def _classes(hint: Any) -> list[type]:
    origin = get_origin(hint)
    if origin is Literal:
        return [str]
    if isinstance(origin, type) and issubclass(origin, dict | list):
        return [origin]
    if origin is not None:
        return [kind for member in get_args(hint) for kind in _classes(member)]
    return [int, float] if hint is float else [hint]
