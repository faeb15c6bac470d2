"""Taking up a fit again: from which folder, and whether the circumstances are those of its beginning."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pyrovae.registry.plain import whole_number
from pyrovae.storage.optimizer_state import use_own_options
from pyrovae.training.checkpoint_folder import CheckpointFolder
from pyrovae.training.loop import Trainer
from pyrovae.training.setting import differences

Resume = bool | Literal["anyway"]


class ResumeError(ValueError):
    """A fit cannot go on from where its checkpoints say it was."""


@dataclass(frozen=True)
class Keeping:
    """When a run writes checkpoints, and whether it goes on from one; see `pyrovae.fit`."""

    steps: int | None = None
    seconds: float | None = 60.0
    resume: Resume = False


def folder_of(
    path: str | os.PathLike[str] | None, resume: Resume, steps: int | None, seconds: float | None
) -> CheckpointFolder | None:
    """The folder for the checkpoints of a fit, or None for none.

    Raises:
        ValueError: an option out of its range.
        TypeError: ``resume`` without a folder.
    """
    if resume not in (True, False, "anyway"):
        raise ValueError(f"resume must be True, False or 'anyway'; got {resume!r}")
    if steps is not None:
        whole_number("checkpoint_steps", steps, least=1)
    if seconds is not None and not (isinstance(seconds, int | float) and seconds >= 0):
        raise ValueError(f"checkpoint_seconds must be a number of at least 0; got {seconds!r}")
    if path is None:
        if resume:
            raise TypeError("resume needs run_dir=..., the folder that holds the checkpoints")
        return None
    return CheckpointFolder(Path(path), steps=steps, seconds=seconds)


def take_up(trainer: Trainer, folder: CheckpointFolder, resume: Resume) -> None:
    """Go on from the newest checkpoint, if there is one, and if that is what is wanted.

    Args:
        trainer: at its beginning.
        folder: entered.
        resume: as in `pyrovae.fit`.

    Raises:
        ResumeError: no checkpoint can be used, or circumstances differ.
        ValueError: there is one, and ``resume`` is False.
    """
    if not resume and folder.manifests():
        raise ValueError(
            f"{folder.path} holds checkpoints of an earlier fit: say resume=True to go on with it, or name "
            "another folder"
        )
    try:
        # Parameters, the best ones, and what an optimiser remembers of them, at their most.
        own = sum(t.numel() * t.element_size() for t in trainer.state.tensors.values())
        found = folder.newest(most=32 * own + 2**26)
    except ValueError as error:
        raise ResumeError(str(error)) from error
    if found is None:
        return
    tensors, metadata = found
    if metadata.get("of") != "a fit" or not isinstance(metadata.get("setting"), dict):
        raise ResumeError(f"the newest checkpoint in {folder.path} is not one of a fit")
    differing = differences(metadata["setting"], trainer.setting)
    if differing and resume != "anyway":
        raise ResumeError(
            f"this fit cannot go on to the bit as it began: {'; '.join(differing.values())}. Make these "
            "alike, or say resume='anyway' to go on with what is there now"
        )
    try:
        trainer.resume(
            tensors,
            metadata.get("state"),
            convert="precision" in differing,
            exact=resume != "anyway",
        )
    except ValueError as error:
        raise ResumeError(f"{folder.path}: {error}") from error
    folder.goes_on_from(trainer.state.steps)
    changed = {k.partition(".")[2] for k in differing if k.startswith("optimiser.")}
    use_own_options(trainer.state.svi.optim, changed, trainer.state.scheduler)
