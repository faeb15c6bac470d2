"""Taking up a fit again: from which folder, and whether the circumstances are those of its beginning."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from pyrovae.checkpoint import check_same, put_back
from pyrovae.distributed.shards import Loaded, Shards
from pyrovae.registry.plain import whole_number
from pyrovae.storage.optimizer_state import use_own_options
from pyrovae.training.checkpoint_folder import CheckpointFolder
from pyrovae.training.fit_state import some_of_each_kind
from pyrovae.training.loop import Trainer
from pyrovae.training.setting import differences
from pyrovae.training.svi_state import compiled_kinds

log = logging.getLogger("pyrovae")

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
    path: str | os.PathLike[str] | None,
    resume: Resume,
    steps: int | None,
    seconds: float | None,
    shards: Shards | None = None,
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
    return CheckpointFolder(Path(path), steps=steps, seconds=seconds, shards=shards)


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
    processes, state = trainer.processes, trainer.state
    group = processes.group
    if group.any(group.leads and not resume and bool(folder.manifests())):
        raise ValueError(
            f"{folder.path} holds checkpoints of an earlier fit: say resume=True to go on with it, or name "
            "another folder"
        )
    # Parameters, the best ones, and what an optimiser remembers of them, at their most.
    own = sum(t.numel() * t.element_size() for t in state.tensors.values())
    found = _newest(folder, 32 * own * group.ranks + 2**26)
    if found is None:
        return
    tensors, metadata = found
    ranks = metadata.get("ranks", 1)
    differing = _differing(metadata["setting"], trainer.setting, ranks, group.ranks)
    if differing and resume != "anyway":
        raise ResumeError(
            f"this fit cannot go on to the bit as it began: {'; '.join(differing.values())}. Make these "
            "alike, or say resume='anyway' (--resume RUN --anyway) to go on with what is there now"
        )
    saved = metadata.get("state")
    position = saved.get("batches") if isinstance(saved, dict) else None
    state.batches = processes.batches_for(position, state.batches)
    try:
        go_on(
            trainer,
            tensors,
            saved,
            convert="precision" in differing,
            exact=resume != "anyway" and ranks == group.ranks == 1,
        )
    except ValueError as error:
        raise ResumeError(f"{folder.path}: {error}") from error
    folder.goes_on_from(trainer.state.steps)
    changed = {k.partition(".")[2] for k in differing if k.startswith("optimiser.")}
    use_own_options(trainer.state.svi.optim, changed, trainer.state.scheduler)


def _newest(folder: CheckpointFolder, most: int) -> Loaded | None:
    try:
        found = folder.newest(most=most)
    except ValueError as error:
        raise ResumeError(str(error)) from error
    if found is not None:
        metadata = found[1]
        if metadata.get("of") != "a fit" or not isinstance(metadata.get("setting"), dict):
            raise ResumeError(f"the newest checkpoint in {folder.path} is not one of a fit")
    return found


def _differing(
    then: Mapping[str, Any], now: Mapping[str, Any], ranks_then: Any, ranks: int
) -> dict[str, str]:
    """What differs and matters: with another number of processes the bits are others anyway."""
    found = differences(then, now)
    if ranks_then != ranks:
        found.pop("threads", None)
        log.warning("Processes of this fit: %s then, %d now.", ranks_then, ranks)
    return found


def go_on(
    trainer: Trainer,
    tensors: Mapping[str, Tensor],
    plain: Any,
    *,
    convert: bool,
    exact: bool,
) -> None:
    """Go on from the state that a checkpoint holds.

    Args:
        trainer: at its beginning; it is left there if the state does not fit.
        tensors: of the checkpoint.
        plain: the rest of the state in it.
        convert: whether parameters of another precision are taken.
        exact: whether the next steps must have the bits that they would have had.

    Raises:
        ValueError: it is the state of another fit, or its steps cannot be compiled as they were.
    """
    own = trainer.state.tensors
    before = {name: tensor.detach().clone() for name, tensor in own.items()}
    try:
        came = {k.removeprefix("now."): t for k, t in tensors.items() if k.startswith("now.")}
        came = {name: tensor for name, tensor in came.items() if not name.startswith("store.")}
        check_same(came, own, convert=convert)
        put_back(own, came)
        _put(trainer, tensors, plain, convert, exact)
    except Exception:
        put_back(own, before)
        raise


def _put(
    trainer: Trainer, tensors: Mapping[str, Tensor], plain: Any, convert: bool, exact: bool
) -> None:
    state = trainer.state
    # Steps that are undone at once: after them the optimiser has made all that it remembers, and
    # what was recorded or compiled is so again.
    for index in some_of_each_kind(state.batches, plain):
        trainer.step(index)
    state.put(tensors, plain, convert=convert)
    then, now = plain["compiled"], compiled_kinds(state.svi)
    if exact and then != now:
        raise ValueError(
            f"steps with {then} kinds of batches were compiled, here {now} can be, and compiled steps "
            "round differently: say resume='anyway' to go on all the same"
        )
    trainer.look_whether_over()  # epochs and patience may be others than they were
