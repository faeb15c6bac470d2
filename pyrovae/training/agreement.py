"""What the processes of one fit must have alike, and what none of them can have a part of."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from pyrovae.programs import Program
from pyrovae.sources.seeds import generator_from
from pyrovae.svi import SVI
from pyrovae.training.feed import Feed
from pyrovae.training.fit_state import FitState
from pyrovae.training.processes import Processes
from pyrovae.training.setting import Setting, describe
from pyrovae.waist.sites import sites_of

OF_MACHINES = {"processor", "device", "threads"}  # of a setting


def agreed(
    processes: Processes, state: FitState, source: Feed, options: Setting, folder: Any, more: Any
) -> Setting:
    """What a checkpoint says of the circumstances, alike in all processes of a fit but for machines.

    Args:
        processes: of which this is one.
        state: of the fit.
        source: of the batches.
        options: of the fit, that a checkpoint is to name.
        folder: for checkpoints, or None.
        more: epochs, patience and ``row_lr``.

    Returns:
        As `describe`; nothing where nobody needs it.

    Raises:
        ValueError: processes that would not take the same steps, as `Group.agree`.
        TypeError: programs of which every process would count a site whole.
    """
    group = processes.group
    if folder is None and not group.many:
        return {}
    setting = describe(state, source, options | processes.known)
    if group.many:
        said = {k: v for k, v in setting.items() if k not in OF_MACHINES}
        said |= {"epochs, patience, row_lr": more, "run_dir": folder is not None}
        # Where an object lies in memory says nothing of it.
        group.agree({k: re.sub(" at 0x[0-9a-f]+", "", str(v)) for k, v in said.items()})
        _refuse_sites_of_no_row(state.svi, source)
    return setting


def _refuse_sites_of_no_row(svi: SVI, source: Feed) -> None:
    """Refuse programs that are not told N and have a site that does not grow with the rows.

    Parts of a batch add up to the batch but for such a site, which would count once in every process.
    """
    if "size" in source.extras:
        return
    one, two = (source.batch(torch.zeros(n, dtype=torch.int64), generator_from(0)) for n in (1, 2))
    for program in (svi.model, svi.guide):
        few, many = (_shapes(program, *batch) for batch in (one, two))
        if same := [name for name in few if few[name] == many.get(name)]:
            raise TypeError(
                f"the site {same[0]!r} is the same for all rows, and each process would count it whole: let "
                "model and guide take index= and size= and write their plate as "
                "pyrovae.programs.data_plate(len(x), index, size), or fit in one process"
            )


def _shapes(program: Program, x: Tensor, extras: dict[str, Any]) -> dict[str, torch.Size]:
    """Of the value at every sample site, by name."""
    sites = sites_of(program, x, **extras)
    return {name: torch.as_tensor(site["value"]).shape for name, site in sites.items()}
