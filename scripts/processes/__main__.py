"""One fit over several processes of this machine: is it the same fit, does it last, what does it cost?

    python scripts/processes --json scripts/results/processes.json
    python scripts/processes gradients kills

``gradients``: of 1, 2 and 4 processes, with the exact posterior as guide, and with noise that belongs to the
row. ``evidence``: fits by one and by two, over seeds. ``resume``: fits of two that are ended on the way and
gone on with by one, two and four. ``kills``: one of two is killed at a random moment, and the same command
started again. ``weak``: twice the rows for two processes of one thread, against one of one thread, in turns;
leave the machine alone meanwhile. ``tables``: ten million rows over four. ``message``: what a sum over
processes takes. `reckoning.py` makes a page of the last four.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from costs import message, tables, weak
from lasting import kills, resume
from sameness import evidence, gradients
from starting import Found

from pyrovae.storage.files import write_json

PARTS = {
    part.__name__: part for part in (gradients, resume, kills, evidence, tables, weak, message)
}


def main() -> int:
    """Measure, print, and add to what is saved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found: Found = {}
    if chosen.json and chosen.json.exists():
        found = json.loads(chosen.json.read_text())
    for name in chosen.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = PARTS[name](Path(folder))
        print(name, json.dumps(found[name], indent=1), flush=True)
        found["versions"] = {p: version(p) for p in ("torch", "pyro-ppl", "numpy")}
        found["machine"] = (
            f"{platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}"
        )
        found["command"] = "python scripts/processes --json scripts/results/processes.json"
        if chosen.json:
            write_json(chosen.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
