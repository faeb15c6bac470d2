"""A fitted run looked at again: every diagnostic, saved in the run's folder and put into words."""

from __future__ import annotations

from tqdm import tqdm

from pyrovae.experiment import Experiment
from pyrovae.running.diagnosis import QUICK, diagnose_data
from pyrovae.running.verdicts import verdicts
from pyrovae.sources.dataset import Part
from pyrovae.storage.files import without_non_finite, write_json
from pyrovae.storage.run_folder import RunFolder


def rescore(
    experiment: Experiment, folder: RunFolder, part: Part = "test", *, quick: bool = False
) -> list[str]:
    """Run every diagnostic that applies to a fitted run, with a progress bar.

    Args:
        experiment: the parts of the run, with its parameters.
        folder: of the run; ``diagnosis.json`` there holds numbers, those of each row, words and what did
            not apply.
        part: which rows.
        quick: spend a tenth, for a first look.

    Returns:
        What the numbers mean, in sentences; the last ones say what does not apply, and why.
    """
    with tqdm(leave=False) as bar:

        def show(name: str, number: int, count: int) -> None:
            bar.total, bar.n = count, number
            bar.set_description(name)

        found = diagnose_data(
            experiment.model,
            experiment.guide,
            experiment.data,
            part,
            budget=QUICK if quick else None,
            seed=experiment.config.seed,
            progress=show,
        )
    said = verdicts(found.numbers)
    said += [f"No {name}: {why}." for name, why in found.skipped.items()]
    saved = {
        "part": part,
        "words": said,
        "skipped": found.skipped,
        "numbers": without_non_finite(found.numbers),
        "rows": without_non_finite({name: row.tolist() for name, row in found.rows.items()}),
        "seconds": found.seconds,
    }
    write_json(folder.path / "diagnosis.json", saved)
    return said
