"""What is typed to the scripts of the published tables, and how they end."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cells import PARTICLES
from recording import RESULTS

from pyrovae.training.interrupts import terminable


def whole(least: int) -> Callable[[str], int]:
    """A whole number that is not below the least."""

    def read(typed: str) -> int:
        try:
            number = int(typed)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{typed!r}: a whole number from {least} is expected")
        return number

    return read


def duration(typed: str) -> float:
    """Minutes, above 0."""
    try:
        number = float(typed)
    except ValueError:
        number = math.nan
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{typed!r}: minutes above 0 are expected")
    return number


def parser_of(description: str) -> argparse.ArgumentParser:
    """The options that all scripts have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--passes",
        type=whole(1),
        help="over the training images; other than the default is another run",
    )
    add(
        "--minutes",
        type=duration,
        help="of training, for all runs; then what is there is evaluated",
    )
    add("--output", default="results/published", help="folder of the runs, which go on from there")
    add(
        "--images",
        type=whole(1),
        help="test images that an unfinished run is evaluated on; all by default",
    )
    add("--particles", type=whole(1), default=PARTICLES, help="for them")
    add("--threads", type=whole(1), default=1)
    add("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    return parser


def options_of(description: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What was typed for a table of cells."""
    parser = parser_of(description)
    add = parser.add_argument
    add("--cells", nargs="+", help="which of the table; all by default")
    add("--seeds", nargs="+", type=whole(0), default=[0])
    add("--evaluations", type=whole(1), default=1, help="repeat the evaluation with as many seeds")
    add("--replace", action="store_true", help="recorded runs that had other settings")
    add(
        "--measure", action="store_true", help="only time a step and an evaluation of 10,000 images"
    )
    return parser.parse_args(arguments)


@contextmanager
def spoken(name: str) -> Iterator[None]:
    """End with one sentence where something is wrong, or someone stops it."""
    try:
        with terminable():
            yield
    except KeyboardInterrupt as stop:
        print("\nStopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        sys.exit(128 + int(getattr(stop, "signal", signal.SIGINT)))
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        sys.exit(f"{name}: {error}")
