"""Who writes to the folder of a run: the first of the processes that fit together, or the one there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from torch import nn

from pyrovae import checkpoint
from pyrovae.distributed.group import Group
from pyrovae.distributed.shards import Shards
from pyrovae.records import RunFolder
from pyrovae.running.config import Config
from pyrovae.storage.folder_lock import FolderLock
from pyrovae.training.processes import divided
from pyrovae.training.resume import Keeping


@contextmanager
def held(group: Group, folder: RunFolder, config: Config, keeping: Keeping) -> Iterator[Keeping]:
    """Hold the folder of a run, and make it ready.

    Several processes are started anew, by torchrun or by hand, with the command that they began with: they
    go on from the last checkpoint if there is one.

    Args:
        group: of processes.
        folder: of the run.
        config: of the run, complete.
        keeping: whether to go on.
    """
    text = config.to_yaml()
    if group.many:
        goes_on = group.any(group.leads and (folder.stopped(text) or bool(keeping.resume)))
        keeping = replace(keeping, resume=keeping.resume or goes_on)
    if group.leads:
        folder.path.mkdir(parents=True, exist_ok=True)
    with FolderLock(folder.path) if group.leads else nullcontext():
        if group.leads:
            folder.start(text, resume=bool(keeping.resume))
        group.wait()
        yield keeping


def keep(group: Group, folder: RunFolder, rows: int, **programs: nn.Module) -> None:
    """Write the final parameters of model and guide; each process its rows of what is divided by rows.

    Args:
        group: of processes.
        folder: of the run.
        rows: N.
        **programs: model and guide.
    """
    shards = Shards(group, divided(**programs), rows)
    shards.write(folder.parameters_path, checkpoint.parameters(**programs), {"run": folder.name})


def restore(folder: RunFolder, rows: int, **programs: nn.Module) -> None:
    """Read what `keep` wrote, of any number of processes, into whole programs.

    Raises:
        ValueError: a file is missing or damaged, or of other programs.
    """
    tensors, _ = Shards(Group(), divided(**programs), rows).read(folder.parameters_path)
    checkpoint.restore(tensors, **programs)
