"""Kill, corrupt, poison and starve fits of pyrovae, and count what survives.

python scripts/survival            every figure, about 20 minutes of one core
python scripts/survival --quick    a sample of each, about a minute
python scripts/survival kills corruption     only these
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time

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
    "mutants": ("caught",),
}


def main() -> int:
    """Print the figures; 1 if one falls short."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checks", nargs="*", help=", ".join(CHECKS))
    parser.add_argument("--quick", action="store_true", help="a sample of each")
    chosen = parser.parse_args()
    unknown = set(chosen.checks) - set(CHECKS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(CHECKS)}")
    import torch

    torch.set_num_threads(1)
    short = 0
    for name in chosen.checks or CHECKS:
        module = importlib.import_module(name)
        for check in CHECKS[name]:
            began = time.perf_counter()
            for figure in getattr(module, check)(chosen.quick):
                print(figure, flush=True)
                short += figure.fell_short
            print(f"    {name}.{check}: {time.perf_counter() - began:.0f} s", flush=True)
    print("All reached." if not short else f"{short} fall short.")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
