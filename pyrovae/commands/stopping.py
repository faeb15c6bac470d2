"""What is said after Ctrl-C and SIGTERM: what is kept, and how to go on."""

from __future__ import annotations

import signal

from pyrovae.records import OutputFolder
from pyrovae.storage.run_folder import RunFolder


def fit_stopped(folder: RunFolder) -> str:
    """Of one fit."""
    if folder.has_checkpoints:
        return f"\nStopped; a checkpoint is written. Go on with: pyrovae fit --resume {folder.path}"
    return "\nStopped before the first checkpoint; run the same command again."


def comparison_stopped(output: OutputFolder, total: int) -> str:
    """Of a comparison of so many runs."""
    kept = sum(record["status"] == "finished" for record in output.records())
    return (
        f"\nStopped. {kept} of {total} runs are finished and kept in {output.path}; run the same command "
        "again to go on."
    )


def status_after(interrupt: KeyboardInterrupt) -> int:
    """130 after Ctrl-C, 143 after SIGTERM, as shells have it."""
    terminated = getattr(interrupt, "signal", signal.SIGINT) == signal.SIGTERM
    return 128 + (signal.SIGTERM if terminated else signal.SIGINT)
