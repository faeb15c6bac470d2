"""The checkpoints of one fit: the last two, and the best parameters so far.

``step-000000001200-000.safetensors`` and its manifest hold everything that step 1,201 needs;
``best-000007-000.safetensors`` the parameters after epoch 7. Each has a name that was never used before, and
older ones go only when newer ones are whole, so there is a whole one at every moment.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pyrovae.distributed.group import Group, LostProcessError
from pyrovae.distributed.shards import Loaded, Shards, remove
from pyrovae.storage.folder_lock import FolderLock

log = logging.getLogger("pyrovae")

KEPT = 2


class CheckpointFolder:
    """Writes and finds checkpoints; a context, during which nobody else may write there.

    Args:
        path: the folder; it is made if need be.
        steps: write one every so many steps; None not by steps.
        seconds: write one after so many seconds; None not by time.
        shards: writes and reads the files; by default this process does alone.

    Raises:
        FolderInUseError: another fit writes there.
        OSError: it cannot be made or written.
    """

    def __init__(
        self,
        path: Path,
        *,
        steps: int | None = None,
        seconds: float | None = 60.0,
        shards: Shards | None = None,
    ) -> None:
        self.shards = shards or Shards(Group())
        self.path = path
        self.steps = steps
        self.seconds = seconds
        self._lock = FolderLock(path)
        self._written = time.monotonic()
        self._at = 0

    def __enter__(self) -> CheckpointFolder:
        self._written = time.monotonic()
        if not self.shards.group.leads:
            return self
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or error
            raise OSError(
                error.errno, f"the folder {self.path} for checkpoints cannot be made ({why})"
            ) from error
        self._lock.__enter__()
        for leftover in self.path.glob(".*.tmp"):  # of a process that was killed
            leftover.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__(None, None, None)

    def goes_on_from(self, step: int) -> None:
        """The checkpoint after this step is there already."""
        self._at = step

    def due(self, step: int) -> bool:
        """Whether it is time to write one; a clock is all that this costs."""
        by_steps = self.steps is not None and step - self._at >= self.steps
        return by_steps or (
            self.seconds is not None and time.monotonic() - self._written >= self.seconds
        )

    def write(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        metadata: Mapping[str, Any],
        best: tuple[int, Mapping[str, Tensor]] | None = None,
    ) -> Path:
        """Write the state after a step, then the best parameters, then remove what is older.

        Args:
            step: taken so far.
            tensors: all of the state.
            metadata: what JSON holds of it.
            best: an epoch, and the parameters after it.

        Returns:
            The path of the tensor file.

        Raises:
            OSError: it could not be written; earlier checkpoints are as they were.
        """
        try:
            written = self._write(f"step-{step:012d}", tensors, metadata)
            known = best is None or any(self.path.glob(f"best-{best[0]:06d}-*.json"))
            if best is not None and not self._of_the_first(float(known)):
                self._write(f"best-{best[0]:06d}", best[1], {"epoch": best[0]})
        except LostProcessError:
            raise
        except OSError as error:
            older = [path.stem for path in self.manifests()]
            kept = f"{older[0]} is intact" if older else "there is none before it"
            raise OSError(
                error.errno,
                f"the checkpoint of step {step} could not be written to {self.path} "
                f"({error.strerror or error}); {kept}. Make room or name another folder, and resume",
            ) from error
        if self.shards.group.leads:
            for old in self.manifests()[KEPT:] + self.manifests("best")[1:]:
                remove(old)
        self._at, self._written = step, time.monotonic()
        return written

    def manifests(self, kind: str = "step") -> list[Path]:
        """The manifests of all checkpoints, the newest first."""
        return sorted(self.path.glob(f"{kind}-*.json"), reverse=True)

    def newest(self, most: int | None = None) -> Loaded | None:
        """The newest checkpoint that is whole, or None if there is none at all.

        Args:
            most: bytes that it may have.

        Raises:
            ValueError: there are some, and all are damaged; or processes find others in the folder.
        """
        found_here = [manifest.stem for manifest in self.manifests()]
        self.shards.group.agree({"checkpoints that are found": found_here})
        said = []
        for manifest in self.manifests():
            try:
                found = self.shards.read(manifest.with_suffix(".safetensors"), most)
            except (ValueError, OSError) as error:
                said.append(str(error))
                continue
            if said:
                log.warning("%s Going on from %s.", said[0], manifest.stem)
            return found
        if said:
            raise ValueError(f"no checkpoint in {self.path} can be used: {said[0]}")
        return None

    def clear(self) -> None:
        """Remove all checkpoints."""
        for manifest in [*self.manifests(), *self.manifests("best")]:
            remove(manifest)

    def _write(self, stem: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Path:
        attempt = len(list(self.path.glob(f"{stem}-*.safetensors")))
        while (self.path / f"{stem}-{attempt:03d}.safetensors").exists():
            attempt += 1
        attempt = round(self._of_the_first(float(attempt)))
        target = self.path / f"{stem}-{attempt:03d}.safetensors"
        try:
            self.shards.write(target, tensors, metadata)
        except LostProcessError:
            raise
        except OSError:
            remove(target)
            raise
        return target

    def _of_the_first(self, number: float) -> float:
        """What the process that leads knows of the folder, which others may be slow to see."""
        group = self.shards.group
        return group.total(number if group.leads else 0.0)
