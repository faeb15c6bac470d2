"""One run's folder: what a run writes, and its names and units. See `pyrovae.records`."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrovae.storage.files import read_json, without_non_finite, write_atomically, write_json
from pyrovae.storage.record import Record, as_record

METRICS = ("step", "epoch", "seconds", "train_bound", "validation_bound")
ARRAYS = (
    "image_shape",  # (2,) rows and columns of one image
    "test_images",  # (n, D) test rows as the model saw them
    "test_log_evidence",  # (N,) the best known log evidence of each test row, nats
    "test_elbo",  # (N,) the ELBO of each test row, nats
    "samples",  # (m, D) draws of x from p(x, z)
    "sample_means",  # (m, D) the mean of p(x | z) at the same m values of z
    "reconstructions",  # (n, D) the mean of p(x | z) at a z of the guide, for test_images
    "latent_2d",  # (M, 2) posterior means of test rows, two directions of them
    "latent_labels",  # (M,) the digit of each
    "latent_axes",  # (2,) names of the two directions
    "component_means",  # (C, D) mean image of each mixture component
    "component_weights",  # (C,) mixture weights, sum 1
    "component_examples",  # (C, k, D) members of each cluster; rows of NaN where it has fewer
    "component_labels",  # (C, 10) how many members of each digit the cluster holds
)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run. Making the object touches no disk; `start` makes the folder."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name, which is its folder's."""
        return self.path.name

    @property
    def parameters_path(self) -> Path:
        """Where the final parameters belong (safetensors)."""
        return self.path / "parameters.safetensors"

    @property
    def checkpoints_path(self) -> Path:
        """Where the checkpoints of a run that is under way belong."""
        return self.path / "checkpoints"

    @property
    def has_checkpoints(self) -> bool:
        """Whether there is a state that the run can go on from."""
        return any(self.checkpoints_path.glob("step-*.json"))

    def start(self, config: str, *, resume: bool = False) -> None:
        """Make the folder, remove what an earlier attempt left, and write its configuration.

        Args:
            config: YAML.
            resume: keep the checkpoints.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        written = ("record.json", "metrics.csv", "arrays.npz", "diagnosis.json")
        parameters = ("parameters.json", "parameters.safetensors", "rows-*")
        for leftover in [path for name in written + parameters for path in self.path.glob(name)]:
            leftover.unlink(missing_ok=True)
        if not resume:
            self.remove_checkpoints()
        write_atomically(self.path / "config.yaml", config.encode())

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints: the run is over, or begins anew."""
        for kind in ("step-*", "best-*", "rows-*", ".*.tmp"):
            for path in self.checkpoints_path.glob(kind):
                path.unlink(missing_ok=True)

    def config(self) -> str | None:
        """The configuration as written (YAML), or None if there is none yet.

        Raises:
            ValueError: it is no text.
        """
        path = self.path / "config.yaml"
        try:
            return path.read_text(encoding="utf-8") if path.is_file() else None
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a configuration: {error}.") from error

    def finished(self, config: str | None = None) -> Record | None:
        """The record if the run finished (with this very configuration, if one is given)."""
        record = self.record()
        same = config is None or self.config() == config
        return record if record["status"] == "finished" and same else None

    def stopped(self, config: str) -> bool:
        """Whether a run with this very configuration left checkpoints to go on from."""
        return self.has_checkpoints and self.config() == config

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write `record.json`, which ends the run.

        Raises:
            ValueError: `name` is not this folder's, or `status` is neither finished nor failed.
            TypeError: a value that JSON cannot hold.
        """
        if record.get("name") != self.name:
            raise ValueError(
                f"A record in the folder of run {self.name!r} must have that name; "
                f"this one's is {record.get('name')!r}."
            )
        if record.get("status") not in ("finished", "failed"):
            raise ValueError(
                f"A record's status is 'finished' or 'failed'; got {record.get('status')!r}."
            )
        write_json(self.path / "record.json", without_non_finite(record))

    def record(self) -> Record:
        """The record; for a run without one, its name and the status "unfinished".

        Raises:
            ValueError: `record.json` is there and is not a record.
        """
        path = self.path / "record.json"
        if not path.is_file():
            return Record(name=self.name, status="unfinished", error=None)
        try:
            record = as_record(read_json(path), path)
            if record.get("status") not in ("finished", "failed"):
                raise ValueError(f"{path} is not a record: expected an object with a status.")
        except ValueError as error:
            raise ValueError(f"{error} Remove the file to have the run done again.") from error
        return cast(Record, {**record, "name": self.name})

    def append_metrics(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows with the keys `METRICS` to `metrics.csv`; a missing or None value is blank.

        Raises:
            ValueError: a key that is not a column.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, METRICS, restval="", lineterminator="\n")
        path = self.path / "metrics.csv"
        if _drop_cut_row(path) == 0:
            writer.writeheader()
        writer.writerows(rows)
        with path.open("a", encoding="utf-8") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())

    def metrics(self) -> dict[str, NDArray[np.float64]]:
        """The columns `METRICS`, each (rows,) float64, NaN where blank; all empty without a file.

        Bounds are nats per datapoint, larger is better; seconds since training began.
        """
        path = self.path / "metrics.csv"
        lines: list[dict[str, Any]] = []
        if path.is_file():
            whole, _, _cut = path.read_text(encoding="utf-8").rpartition("\n")
            lines = list(csv.DictReader(whole.splitlines()))
        return {key: np.array([_number(line.get(key)) for line in lines]) for key in METRICS}

    def write_arrays(self, arrays: Mapping[str, ArrayLike]) -> None:
        """Write `arrays.npz`: the keys of `ARRAYS` that the run has, floats as float32.

        Raises:
            ValueError: a key that is not in `ARRAYS`.
            TypeError: an array of Python objects, which only pickle could hold.
        """
        ready: dict[str, NDArray[Any]] = {}
        for key, value in arrays.items():
            array = np.asarray(value)
            if key not in ARRAYS:
                raise ValueError(f"Unknown array {key!r}; a run may write {', '.join(ARRAYS)}.")
            if array.dtype == object:
                raise TypeError(
                    f"The array {key!r} holds Python objects; expected numbers or text."
                )
            ready[key] = array.astype(np.float32) if array.dtype.kind == "f" else array
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **cast(dict[str, Any], ready))
        write_atomically(self.path / "arrays.npz", buffer.getvalue())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of the run, by name; empty if it wrote none.

        Raises:
            ValueError: `arrays.npz` cannot be read.
        """
        path = self.path / "arrays.npz"
        if not path.is_file():
            return {}
        try:
            with np.load(path, allow_pickle=False) as saved:
                return {key: saved[key] for key in saved.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a readable set of arrays: {error}.") from error


def _number(text: str | None) -> float:
    return float(text) if text else float("nan")


def _drop_cut_row(path: Path) -> int:
    """Cut off a last line without its line end (a crash left it); the bytes that stay."""
    if not path.is_file():
        return 0
    content = path.read_bytes()
    size = content.rfind(b"\n") + 1
    if size < len(content):
        os.truncate(path, size)
    return size
