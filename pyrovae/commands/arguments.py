"""The arguments of the commands that run models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from pyrovae.commands.options import parse
from pyrovae.commands.plain_arguments import add_checkpoints
from pyrovae.comparison.grid import BASE, grid
from pyrovae.experiment import configuration
from pyrovae.running.config import Config
from pyrovae.sources.dataset import Part as PartName
from pyrovae.storage.run_folder import RunFolder

PRINT = "--print_config"


def fit(words: Sequence[str]) -> tuple[Config, Namespace]:
    """The configuration of one run; output, quiet and print_config."""

    def others(parser: ArgumentParser) -> None:
        _common(parser, "results")
        add_checkpoints(parser)
        parser.add_argument(
            "--resume",
            metavar="RUN",
            type=str,
            help="go on with the run in this folder, as it began; with --anyway even if machine, threads "
            "or versions are others",
        )
        parser.add_argument(PRINT, action="store_true", help="print the configuration, run nothing")

    about = "Fit one model and score it on rows it has not seen."
    # The parser's own action of that name would print its view of the options, not the configuration.
    kept = [word for word in words if word != PRINT]
    config, other = parse("pyrovae fit", about, kept, others)
    other.print_config, other.goes_on = PRINT in words, False
    return config, other


def evaluate(words: Sequence[str]) -> tuple[RunFolder, Config, Namespace]:
    """The folder of the run, its configuration with another estimator, and which part of the data."""
    helps = not {"-h", "--help"}.isdisjoint(words)
    if not helps and (not words or words[0].startswith("-")):
        raise ValueError("Name the folder of a run first: pyrovae evaluate results/runs/NAME")

    def others(parser: ArgumentParser) -> None:
        parser.add_argument("run", type=str, help="folder of a run, such as results/runs/NAME")
        parser.add_argument("--part", type=PartName, default="test", help="which rows")
        parser.add_argument(
            "--diagnose",
            type=Literal["none", "quick", "full"],
            default="full",
            help="k-hat, annealing, gaps, calibration and the rest, in words; takes a minute or two",
        )

    folder = RunFolder(Path("." if helps else words[0]))
    config, other = parse(
        "pyrovae evaluate",
        "Score a fitted run again, with another estimator or more particles.",
        words,
        others,
        kinds=("evidence",),
        sections=("evaluate",),
        start=Config() if helps else configuration(folder),
    )
    return folder, config, other


def compare(words: Sequence[str]) -> tuple[list[Config], Namespace]:
    """The configurations of a comparison; output, jobs and quiet."""

    def others(parser: ArgumentParser) -> None:
        _common(parser, "comparison")
        for name, help_text in (
            ("models", "only these; a dotted path adds one of yours"),
            ("guides", "only these"),
            ("objectives", "these with every model and guide"),
        ):
            parser.add_argument(f"--{name}", nargs="+", metavar="NAME", default=[], help=help_text)
        parser.add_argument(
            "--seeds", "--seed", nargs="+", type=int, default=[0], help="repeat every run with each"
        )
        parser.add_argument("--epochs", type=int | None, default=None, help="of every fit")
        parser.add_argument("--jobs", type=int | None, default=None, help="fits at a time")
        parser.add_argument(
            "--cluster",
            type=str | None,
            default=None,
            help="address of a Dask scheduler, or of Ray (ray://...), to carry out the fits",
        )

    about = "Fit models with several guides and objectives; finished runs are used again."
    config, other = parse(
        "pyrovae compare", about, words, others, kinds=("data",), sections=(), start=BASE
    )
    configs = grid(
        seeds=other.seeds,
        models=other.models,
        guides=other.guides,
        objectives=other.objectives,
        data=config.data,
        epochs=other.epochs,
    )
    return configs, other


def _common(parser: ArgumentParser, output: str) -> None:
    parser.add_argument("--output", type=str, default=output, help="folder to write to")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
