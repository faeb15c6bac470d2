"""What is said after Ctrl-C and SIGTERM: what is kept, and how to go on."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it is needed at once, before anything can be stopped
    from pyrovae.records import OutputFolder
    from pyrovae.running.config import Config
    from pyrovae.storage.run_folder import RunFolder


def fit_stopped(folder: RunFolder) -> str:
    """Of one fit."""
    if folder.has_checkpoints:
        return f"\nStopped; a checkpoint is written. Go on with: pyrovae fit --resume {folder.path}"
    return "\nStopped before the first checkpoint; run the same command again."


def comparison_stopped(output: OutputFolder, configs: Iterable[Config]) -> str:
    """Of a comparison of these runs; the folder may hold others."""
    from pyrovae.sweep import finished  # torch comes with it

    runs = {config.run_name: config for config in configs}
    kept = sum(finished(config, output) is not None for config in runs.values())
    return (
        f"\nStopped. {kept} of {len(runs)} runs are finished and kept in {output.path}; run the same command "
        "again to go on."
    )


def status_after(interrupt: KeyboardInterrupt) -> int:
    """130 after Ctrl-C, 143 after SIGTERM, as shells have it."""
    terminated = getattr(interrupt, "signal", signal.SIGINT) == signal.SIGTERM
    return 128 + (signal.SIGTERM if terminated else signal.SIGINT)
