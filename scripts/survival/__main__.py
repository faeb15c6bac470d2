"""Kill, corrupt, poison and starve fits of pyrovae, and count what survives.

python scripts/survival            every figure, about 20 minutes of one core
python scripts/survival --quick    a sample of each, about a minute
python scripts/survival kills corruption     only these
python scripts/survival --record FILE        also write the figures there, beside those that it holds
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

from figures import Figure, record

for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"):
    os.environ.setdefault(threads, "1")

CHECKS = {
    "kills": ("sigkill", "stages", "resumed_twice"),
    "corruption": ("corrupted",),
    "injection": ("injected",),
    "disks": ("starved", "two_writers", "deterministic"),
    "gadgets": ("pickles", "configurations"),
    "bad_inputs": ("mistakes",),
    "extremes": ("sums", "finite", "overflow"),
    "properties": ("falsified",),
    "guard_cost": ("cost",),
    "mutants": ("caught",),
}


def main() -> int:
    """Print the figures; 1 if one falls short."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checks", nargs="*", help=", ".join(CHECKS))
    parser.add_argument("--quick", action="store_true", help="a sample of each")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="write the figures to this JSON"
    )
    chosen = parser.parse_args()
    unknown = set(chosen.checks) - set(CHECKS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(CHECKS)}")
    import torch

    torch.set_num_threads(1)
    short = 0
    for name in chosen.checks or CHECKS:
        figures = _figures(name, chosen.quick)
        short += sum(figure.fell_short for figure in figures)
        if chosen.record:
            record(chosen.record, name, figures, "--quick " if chosen.quick else "")
    print("All reached." if not short else f"{short} fall short.")
    return 1 if short else 0


def _figures(name: str, quick: bool) -> list[Figure]:
    """The figures of one kind, printed as they come."""
    module = importlib.import_module(name)
    found: list[Figure] = []
    for check in CHECKS[name]:
        began = time.perf_counter()
        for figure in getattr(module, check)(quick):
            print(figure, flush=True)
            found.append(figure)
        print(f"    {name}.{check}: {time.perf_counter() - began:.0f} s", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
