"""Whether a finished run answers for its configuration still, where that names classes of one's own."""

from __future__ import annotations

import hashlib
import inspect
import logging
from pathlib import Path

from pyrovae.records import Record, RunFolder
from pyrovae.registry.parts import build, is_path, options, resolve
from pyrovae.running.config import PART_KINDS, Config
from pyrovae.sources.dataset import PARTS, DataSet
from pyrovae.training.setting import fingerprint

log = logging.getLogger("pyrovae")


def rows_of_ones_own(config: Config, data: DataSet) -> dict[str, str]:
    """What a run records of the rows of a class of one's own.

    What is read by a class with the option ``fingerprint`` is told apart by its configuration already.
    """
    name = config.data.name
    if not is_path(name) or "fingerprint" in options("data", name):
        return {}
    said = [fingerprint(data.part(part).stored) for part in PARTS]
    return {"fingerprint": hashlib.sha256("; ".join(said).encode()).hexdigest()[:12]}


def finished(folder: RunFolder, config: Config) -> Record | None:
    """The record of this very configuration, if it was run to its end with the rows that there are now.

    Raises:
        ValueError: the record, or the data, cannot be read.
    """
    record = folder.finished(config.to_yaml())
    if record is None:
        return None
    if is_path(config.data.name):
        data = build("data", config.data.name, config.data.options)
        if other_rows(record, config, data):
            log.warning(
                "%s has other rows than when %s was run, which is run again.",
                config.data.name,
                folder.name,
            )
            return None
    changed = [path for path in _sources(config) if path.stat().st_mtime > _written(folder)]
    if changed:
        log.warning(
            "%s is newer than the run %s, whose numbers are used again: remove its folder if they would be "
            "others now.",
            ", ".join(map(str, changed)),
            folder.name,
        )
    return record


def other_rows(record: Record, config: Config, data: DataSet) -> bool:
    """Whether these rows of a class of one's own are not those of the run."""
    now = rows_of_ones_own(config, data).get("fingerprint")
    then = (record.get("data") or {}).get("fingerprint")
    return None not in (now, then) and now != then


def _sources(config: Config) -> list[Path]:
    """The files of the classes that are named by their paths."""
    parts = {kind: getattr(config, kind) for kind in PART_KINDS}
    paths = [
        inspect.getsourcefile(resolve(kind, part.name))
        for kind, part in parts.items()
        if part is not None and is_path(part.name)
    ]
    return [Path(path) for path in dict.fromkeys(paths) if path and Path(path).is_file()]


def _written(folder: RunFolder) -> float:
    return (folder.path / "record.json").stat().st_mtime
