"""What a run writes for people and reports: configuration, record, metrics, arrays.

The layout of an output folder::

    OUT/pyrovae.json                 says that the folder is ours
    OUT/results.json                 the records of the last comparison, a list
    OUT/report.html                  the page made from all of it
    OUT/runs/NAME/config.yaml        everything needed to repeat the run
    OUT/runs/NAME/record.json        its result, one `Record`; there once the run finished or failed
    OUT/runs/NAME/metrics.csv        one row per measured step, columns `METRICS`
    OUT/runs/NAME/arrays.npz         pictures and latent positions, keys of `ARRAYS`
    OUT/runs/NAME/parameters.safetensors

Needs the standard library and NumPy only, so results can be read where torch is not installed.
Files are written under a temporary name, flushed to disk and renamed: a reader sees the old file
or the new one, never half of one. `metrics.csv` alone grows in place, row by row; a row cut short
by a crash is dropped when it is read and when the next one is written.

JSON has no NaN and no infinity. Such a number is written as `null`, and its key (dotted when it
lies deeper) is listed under `"not_finite"`, so a diverged run is never mistaken for a missing one.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrovae.storage.files import read_json, without_non_finite, write_json
from pyrovae.storage.record import Record, Status, as_record
from pyrovae.storage.run_folder import ARRAYS, METRICS, RunFolder

__all__ = ["ARRAYS", "METRICS", "OutputFolder", "Record", "RunFolder", "Status"]

log = logging.getLogger("pyrovae")

MARKER = "pyrovae.json"


@dataclass(frozen=True)
class OutputFolder:
    """A folder that holds runs and what is made from them. Get one by `claim` or by `open`."""

    path: Path

    @classmethod
    def claim(cls, path: str | os.PathLike[str]) -> OutputFolder:
        """Make the folder, or take one that is empty or ours, to write to.

        Raises:
            ValueError: the path is a file, or a folder with contents that are not ours.
            OSError: it cannot be made or written.
        """
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"The output folder {folder} is a file; name a new or empty folder.")
        try:
            mine = (folder / MARKER).is_file() or not folder.is_dir()
            # What is left of a marker that was not finished says whose the folder was to be.
            if not mine and not all(p.name.startswith(f".{MARKER}.") for p in folder.iterdir()):
                raise ValueError(
                    f"The output folder {folder} holds files that pyrovae did not write (it has "
                    f"no {MARKER}); name a new or empty folder, or one made by pyrovae."
                )
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / MARKER, {"folder of": "pyrovae", "layout": 1})
            (folder / "runs").mkdir(exist_ok=True)
        except OSError as error:
            raise OSError(
                error.errno,
                f"The output folder {folder} cannot be written ({error.strerror}); "
                "name one that can be",
            ) from error
        return cls(folder)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> OutputFolder:
        """An existing output folder, to read.

        Raises:
            ValueError: there is none at that path.
        """
        folder = Path(path)
        if not (folder / "runs").is_dir() and not (folder / "results.json").is_file():
            raise ValueError(
                f"{folder} is not an output folder of pyrovae: it has neither runs/ nor "
                "results.json. Name the folder that `pyrovae compare` or `pyrovae fit` wrote to."
            )
        return cls(folder)

    @property
    def report_path(self) -> Path:
        """Where the page belongs."""
        return self.path / "report.html"

    def run(self, name: str) -> RunFolder:
        """The folder of one run, there or not.

        Raises:
            ValueError: the name is not a plain file name.
        """
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+=-]{0,199}", name):
            raise ValueError(
                f"A run's name starts with a letter, digit or _ and goes on with these or . + = -, "
                f"at most 200 in all; got {name!r}."
            )
        return RunFolder(self.path / "runs" / name)

    def runs(self) -> list[RunFolder]:
        """Every run in the folder, unfinished and failed ones too, by name."""
        folders = (self.path / "runs").glob("*/") if (self.path / "runs").is_dir() else []
        return sorted((RunFolder(p) for p in folders if p.is_dir()), key=lambda run: run.name)

    def records(self) -> list[Record]:
        """One record per run on disk; then those of `results.json` that have no run folder.

        A run whose record cannot be read counts as failed, with the reason; a `results.json` that cannot
        be read is left out, with a note.
        """
        found = [_record(run) for run in self.runs()]
        names = {record["name"] for record in found}
        try:
            results = self.results()
        except ValueError as error:
            log.warning("%s It is left out.", error)
            results = []
        return found + [record for record in results if record.get("name") not in names]

    def write_results(self, records: Iterable[Mapping[str, Any]]) -> Path:
        """Write `results.json`, the list of these records, and return its path."""
        path = self.path / "results.json"
        write_json(path, [without_non_finite(record) for record in records])
        return path

    def results(self) -> list[Record]:
        """The records in `results.json`; none if it is not there.

        Raises:
            ValueError: `results.json` is there and is not a list of records.
        """
        path = self.path / "results.json"
        if not path.is_file():
            return []
        records = read_json(path)
        if not isinstance(records, list):
            raise ValueError(f"{path} is not a list of records.")
        return [as_record(record, path) for record in records]


def _record(run: RunFolder) -> Record:
    try:
        return run.record()
    except (ValueError, OSError) as error:
        return Record(name=run.name, status="failed", error=str(error))
