"""The properties in `tests/test_properties.py`, with more examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from figures import Figure

ROOT = Path(__file__).parents[2]
TESTS = "tests/test_properties.py"


def falsified(quick: bool) -> list[Figure]:
    """How many properties hold for all examples tried."""
    examples = "25" if quick else "400"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS]
    environment = {**os.environ, "PYROVAE_EXAMPLES": examples}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    held = int((re.search(r"(\d+) passed", done.stdout) or [0, 0])[1])
    failed = int((re.search(r"(\d+) failed", done.stdout) or [0, 0])[1])
    return [
        Figure(
            "properties not falsified by Hypothesis",
            held,
            held + failed,
            f"{examples} examples each",
        )
    ]
