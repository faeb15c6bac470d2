"""The arguments of the commands that choose no parts, read without torch."""

from __future__ import annotations

import re
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from pyrovae.storage.run_folder import RunFolder


def report(words: Sequence[str]) -> Namespace:
    """The output folder."""
    about = "Make the table and the page again from what runs wrote; needs no torch."
    parser = ArgumentParser(prog="pyrovae report", description=about, exit_on_error=False)
    parser.add_argument("output", type=str, help="folder that compare or fit wrote to")
    return _parse(parser, words)


def publish(words: Sequence[str]) -> Namespace:
    """The folder of a run, and the folder to make of it."""
    about = (
        "Turn a finished run into a folder for others: safetensors, JSON and a model card, no code."
    )
    parser = ArgumentParser(prog="pyrovae publish", description=about, exit_on_error=False)
    parser.add_argument("run", type=str, help="folder of a run, such as results/runs/NAME")
    parser.add_argument("folder", type=str, help="a new folder")
    return _parse(parser, words)


def list_parts(words: Sequence[str], kinds: Sequence[str]) -> Namespace:
    """Which kinds, and whether with every option."""
    about = "The parts there are, by public name."
    parser = ArgumentParser(prog="pyrovae list", description=about, exit_on_error=False)
    parser.add_argument("kind", nargs="*", default=list(kinds), help="only these")
    parser.add_argument("--long", action="store_true", help="with every option")
    return _parse(parser, words)


def resumes(words: Sequence[str]) -> bool:
    """Whether a run is to be taken up again."""
    named = any(word.partition("=")[0] == "--resume" for word in words)
    return named and {"-h", "--help"}.isdisjoint(words)


def resume(words: Sequence[str]) -> tuple[RunFolder, Namespace]:
    """The folder of a run to go on with; anyway, quiet, and when to write checkpoints."""
    parser = ArgumentParser(
        prog="pyrovae fit --resume RUN",
        description="Go on with a run.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--resume", metavar="RUN", type=str, help="folder of the run")
    parser.add_argument(
        "--anyway", action="store_true", help="even if machine, threads or versions are others"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    add_checkpoints(parser)
    try:
        found = parser.parse_args(list(words))
    except ArgumentError as error:
        unknown = re.search(r"[Uu]nrecognized arguments: (\S+)", str(error))
        if unknown:
            raise ValueError(
                f"A run goes on with the options that it began with: leave out {unknown[1]!r}, or begin "
                "another run with it."
            ) from error
        raise _sentence(parser, error) from error
    found.goes_on = "anyway" if found.anyway else True
    return RunFolder(Path(found.resume)), found


def add_checkpoints(parser: ArgumentParser) -> None:
    """Add the options that say when checkpoints are written."""
    parser.add_argument(
        "--checkpoint_steps", type=int | None, default=None, help="steps between two checkpoints"
    )
    parser.add_argument(
        "--checkpoint_seconds",
        type=float | None,
        default=60.0,
        help="seconds between two checkpoints",
    )


def _parse(parser: ArgumentParser, words: Sequence[str]) -> Namespace:
    try:
        return parser.parse_args(list(words))
    except ArgumentError as error:
        raise _sentence(parser, error) from error


def _sentence(parser: ArgumentParser, error: ArgumentError) -> ValueError:
    return ValueError(f"{' '.join(str(error).split())}; see {parser.prog} --help")
