"""The command line: words in, calls out. The only place that prints or exits.

What needs torch is imported when the subcommand is known, so that help does not wait for it.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import pyrovae
from pyrovae.commands.voice import connect, first_to_say, one_voice
from pyrovae.distributed.environment import processes, rank

HELP = f"""\
usage: pyrovae COMMAND ...

Latent-variable models and inference algorithms in Pyro: fitted, compared and checked.

  compare   fit models with several guides and objectives, and write a table and a page
  fit       fit one model, with any part and any option
  evaluate  score a fitted run again, with every diagnostic, and say what the numbers mean
  publish   turn a fitted run into a folder that others can load, with a model card
  report    make the table and the page again from what runs wrote
  list      the parts there are: models, guides, objectives, evidence, data

  pyrovae COMMAND --help   every option of a command
  --version                {pyrovae.__version__}
  --traceback              show where an error came from (or set PYROVAE_DEBUG=1)

Start with `pyrovae compare`: real images, a few minutes on two cores, no download.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after ``pyrovae``; by default those of this process.

    Returns:
        The exit status: 0, 1 if a run failed, 2 for a mistake in what was asked, 130 after Ctrl-C, 143
        after SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--traceback" in words or os.environ.get("PYROVAE_DEBUG", "") not in ("", "0")
    words = [word for word in words if word != "--traceback"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if words[0] == "--version":
        print(pyrovae.__version__)
        return 0
    if words[0] not in COMMANDS:
        return _refuse("pyrovae", f"Unknown command {words[0]!r}; known: {', '.join(COMMANDS)}.")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where parts of one's own are looked for, last
    return _guarded(words[0], words[1:], debug)


def _guarded(command: str, words: list[str], debug: bool) -> int:
    """Run a subcommand; what goes wrong becomes one sentence and an exit status."""
    from pyrovae.commands.stopping import status_after

    if processes() > 1 and command != "fit":
        return _refuse(
            "pyrovae", f"torchrun is for pyrovae fit; start pyrovae {command} without it."
        )

    try:  # imports take half a second too, in which Ctrl-C may come
        from pyrovae.registry.notes import Notes
        from pyrovae.training.interrupts import terminable

        with one_voice(), Notes(_say_above), terminable():
            return COMMANDS[command](words)
    except SystemExit as stop:  # after --help
        return int(stop.code or 0)
    except KeyboardInterrupt as interrupt:
        _say("\nStopped. What was finished is kept; run the same command again to go on.")
        return status_after(interrupt)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        if debug:
            raise
        return _refuse(f"pyrovae {command}", _sentence(error))
    except Exception as error:
        if debug:
            raise
        said = f"{type(error).__name__}: {_sentence(error)}"
        return _refuse(f"pyrovae {command}", f"{said} (--traceback shows where)", status=1)


def fit(words: Sequence[str]) -> int:
    """Fit one model."""
    from pyrovae import report
    from pyrovae.commands.arguments import fit as read
    from pyrovae.commands.plain_arguments import resume as read_resume
    from pyrovae.commands.plain_arguments import resumes
    from pyrovae.commands.stopping import fit_stopped, status_after
    from pyrovae.experiment import configuration, run
    from pyrovae.records import OutputFolder
    from pyrovae.running.finished import finished
    from pyrovae.training.resume import Keeping

    connect()
    if resumes(words):
        folder, other = read_resume(words)
        config = configuration(folder).complete()
        record = folder.finished()  # in whatever words its configuration is written
    else:
        config, other = read(words)
        if other.print_config:
            print(config.to_yaml(), end="")
            return 0
        output = OutputFolder.claim if rank() == 0 else OutputFolder
        folder = output(Path(other.output)).run(config.run_name)
        record = finished(folder, config)
        other.goes_on = processes() == 1 and folder.stopped(config.to_yaml())
        if other.goes_on and record is None:
            _say(f"This very run was stopped before, and goes on: {folder.path}")
    if record is not None:
        _say(f"This very run was finished before: {folder.path}")
    else:
        keeping = Keeping(other.checkpoint_steps, other.checkpoint_seconds, other.goes_on)
        try:
            record = run(config, folder, progress=not other.quiet, keeping=keeping)
        except KeyboardInterrupt as interrupt:
            _say(fit_stopped(folder))
            return status_after(interrupt)
    print(report.table([record]))
    _say(f"Everything of the run: {folder.path}")
    _say(f"A page with its pictures: pyrovae report {folder.path.parent.parent}")
    return 0


def evaluate(words: Sequence[str]) -> int:
    """Score a fitted run again."""
    from pyrovae.commands.arguments import evaluate as read
    from pyrovae.experiment import load

    folder, config, other = read(words)
    experiment = load(folder, config)
    found = experiment.evaluate(other.part)
    print(f"{folder.name}, {other.part} rows, nats per datapoint (larger is better)")
    for label, value in found.words().items():
        print(f"  {label:<14} {value}")
    if other.diagnose != "none":
        from pyrovae.commands.rescoring import rescore

        for sentence in rescore(experiment, folder, other.part, quick=other.diagnose == "quick"):
            print(textwrap.fill(sentence, 100, initial_indent="- ", subsequent_indent="  "))
        _say(f"These numbers: {folder.path / 'diagnosis.json'}")
    return 0


def compare(words: Sequence[str]) -> int:
    """Fit models with several guides and objectives, and write a table and a page."""
    from pyrovae import report, sweep
    from pyrovae.commands.arguments import compare as read
    from pyrovae.commands.stopping import comparison_stopped, status_after
    from pyrovae.records import OutputFolder

    configs, other = read(words)
    output = OutputFolder.claim(other.output)
    try:
        records = sweep.compare(
            configs, output, jobs=other.jobs, cluster=other.cluster, progress=not other.quiet
        )
    except KeyboardInterrupt as interrupt:
        _say(comparison_stopped(output, configs))
        return status_after(interrupt)
    print(report.table(records))
    _say(f"The page: {report.write(output.path)}")
    failed = [record for record in records if record["status"] != "finished"]
    if failed:
        _say(f"{len(failed)} of {len(records)} runs failed; the table says why.")
    return 1 if failed else 0


def make_report(words: Sequence[str]) -> int:
    """Make the table and the page again."""
    from pyrovae import report
    from pyrovae.commands.plain_arguments import report as read
    from pyrovae.records import OutputFolder

    output = OutputFolder.open(read(words).output)
    print(report.table(output.records()))
    _say(f"The page: {report.write(output.path)}")
    return 0


def publish(words: Sequence[str]) -> int:
    """Turn a fitted run into a folder for others."""
    from pyrovae.commands.plain_arguments import publish as read
    from pyrovae.publishing import publish as write

    asked = read(words)
    folder = write(asked.run, asked.folder)
    _say(f"Published: {folder}. Load it with pyrovae.publishing.load_model({str(folder)!r}).")
    return 0


def list_parts(words: Sequence[str]) -> int:
    """List the parts there are."""
    from pyrovae.commands import listing
    from pyrovae.commands.plain_arguments import list_parts as read

    found = read(words, list(listing.KINDS))
    print(listing.listing(found.kind, long=found.long))
    return 0


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _say_above(sentence: str) -> None:
    """Say it without tearing a progress bar apart."""
    from tqdm import tqdm

    tqdm.write(sentence, file=sys.stderr)


def _refuse(program: str, sentence: str, status: int = 2) -> int:
    if first_to_say("ended"):
        print(f"{program}: {sentence}", file=sys.__stderr__ if processes() > 1 else sys.stderr)
    return status


def _sentence(error: BaseException) -> str:
    """What an error says, in one line, without the appendices of other packages."""
    text = str(error).partition("\nTrace Shapes:")[0]
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(text.split()) or type(error).__name__


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "compare": compare,
    "fit": fit,
    "evaluate": evaluate,
    "publish": publish,
    "report": make_report,
    "list": list_parts,
}
