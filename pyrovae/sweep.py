"""Many runs: the default comparison, and how it is carried out on this machine's cores.

A run whose folder holds a finished record of the very same configuration is not repeated. One that
fails, or whose worker dies, is recorded as failed and stops no other.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import joblib
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from pyrovae.config import Config, Part
from pyrovae.experiment import failure, run
from pyrovae.grid_progress import GridProgress
from pyrovae.parts import public_name
from pyrovae.records import OutputFolder, Record

ATTEMPTS = 2  # how often a run is tried whose worker dies


@dataclass(frozen=True)
class Recipe:
    """How a model and a guide are trained, with which objectives unless others are asked for."""

    model: Part
    guide: Part
    objectives: tuple[str, ...] = ("Trace_ELBO", "Renyi", "IWAE")
    fit: Mapping[str, Any] = field(default_factory=lambda: {"epochs": 300})
    learning_rate: float = 1e-3


OBJECTIVES = {
    "Trace_ELBO": Part("Trace_ELBO", {"num_particles": 1}),
    "Renyi": Part("Renyi", {"alpha": 0.5, "num_particles": 10}),
    "IWAE": Part("IWAE", {"num_particles": 10}),
}

# The default comparison, longest runs first so that the last ones to finish are short.
GRID = (
    Recipe(
        Part("VAE"),
        Part("PerDatapoint"),
        ("Trace_ELBO", "Renyi", "IWAE"),
        {"epochs": 300},
    ),
    Recipe(
        Part("VAE"),
        Part("Amortized"),
        ("IWAE", "Renyi", "Trace_ELBO"),
        {"epochs": 300},
    ),
    Recipe(
        Part("ProbabilisticPCA"), Part("Amortized"), ("Trace_ELBO", "IWAE"), {"epochs": 200}, 3e-3
    ),
    Recipe(
        Part("ProbabilisticPCA"), Part("ExactPosterior"), ("Trace_ELBO",), {"epochs": 200}, 1e-2
    ),
    Recipe(
        Part("GaussianMixture"),
        Part("ExactPosterior"),
        ("TraceEnum_ELBO", "IWAE"),
        {"epochs": 100},
        1e-2,
    ),
)
BASE = Config(
    optim=Part("Adam"),
    scheduler=Part("CosineAnnealingLR"),
    evidence=Part("ImportanceSampling", {"num_particles": 1000}),
)


def grid(
    *,
    seeds: Sequence[int] = (0,),
    models: Sequence[str] = (),
    guides: Sequence[str] = (),
    objectives: Sequence[str] = (),
    data: Part = BASE.data,
    epochs: int | None = None,
) -> list[Config]:
    """The configurations of a comparison.

    Args:
        seeds: each run is repeated with each.
        models: only these; a dotted path adds a model of yours, with an `Amortized` guide.
        guides: only these.
        objectives: these with every model and guide, instead of the default choice for each; a name that
            the default comparison does not use, or a dotted path, is taken with its default options.
        data: the data set.
        epochs: passes over the data in every run, instead of the default number for each.

    Returns:
        Complete configurations, longest runs first.

    Raises:
        ValueError: an unknown name, or nothing is left.

    Example:
        >>> [config.guide.name for config in grid(models=["VAE"], objectives=["IWAE"])]
        ['PerDatapoint', 'Amortized']
    """
    recipes = _chosen_recipes(models, guides)
    named = [public_name("objective", name) for name in objectives]
    found = []
    for recipe in recipes:
        for name in named or recipe.objectives:
            for seed in seeds:
                fit = dict(recipe.fit) | ({} if epochs is None else {"epochs": epochs})
                config = replace(
                    BASE,
                    data=data,
                    model=recipe.model,
                    guide=recipe.guide,
                    objective=OBJECTIVES.get(name, Part(name)),
                    optim=Part(BASE.optim.name, {"lr": recipe.learning_rate}),
                    fit=fit,
                    seed=seed,
                )
                found.append(config.complete())
    return found


def _chosen_recipes(models: Sequence[str], guides: Sequence[str]) -> list[Recipe]:
    """The default recipes of these models and guides, and new ones for pairs that were asked for."""
    pairs = {(recipe.model.name, recipe.guide.name): recipe for recipe in GRID}
    known_models = dict.fromkeys(model for model, _ in pairs)
    known_guides = dict.fromkeys(guide for _, guide in pairs)
    allowed = [public_name("guide", name) for name in guides]
    wanted = [public_name("model", name) for name in models] or list(known_models)
    chosen = []
    for model in wanted:
        own = [guide for known, guide in pairs if known == model] or ["Amortized"]
        for guide in allowed or own:
            asked = (models and guides) or guide not in known_guides or model not in known_models
            if (model, guide) in pairs:
                chosen.append(pairs[model, guide])
            elif asked:
                like = next(
                    (r for r in GRID if r.model.name == model), Recipe(Part(model), Part(guide))
                )
                chosen.append(replace(like, guide=Part(guide)))
    if not chosen:
        offered = "; ".join(f"{model} with {guide}" for model, guide in pairs)
        raise ValueError(
            f"The default comparison has no model with the guide {', '.join(allowed)}; it has {offered}. "
            "Give both --models and --guides for another pair."
        )
    return chosen


def compare(
    configs: Iterable[Config],
    output: OutputFolder,
    *,
    jobs: int | None = None,
    progress: bool = True,
) -> list[Record]:
    """Carry out runs, each in a process of its own, and write `results.json`.

    Args:
        configs: what to run.
        output: where to; finished runs that lie there are used again.
        jobs: how many runs at a time; by default one for each core. The threads are divided between them.
        progress: show the whole and each fit on standard error.

    Returns:
        One record for each configuration, in the same order; failed runs have the status "failed".

    Raises:
        ValueError: `jobs` below 1.
        KeyboardInterrupt: what was finished is in the output folder.
    """
    cores = joblib.cpu_count()
    jobs = cores if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"jobs must be a whole number of at least 1; got {jobs!r}")
    runs = {config.run_name: config.complete() for config in configs}
    records = {name: found for name, c in runs.items() if (found := finished(c, output))}
    waiting = {name: config for name, config in runs.items() if name not in records}
    threads = max(1, cores // max(1, min(jobs, len(waiting))))
    try:
        with GridProgress(list(runs), waiting, output, jobs=jobs, show=progress) as shown:
            for record in _carry_out(waiting, output, jobs, threads):
                records[record["name"]] = record
                shown.done(record)
    finally:
        output.write_results([records[name] for name in runs if name in records])
    return [records[name] for name in runs]


def finished(config: Config, output: OutputFolder) -> Record | None:
    """The record of this very configuration, if it was run to its end in that folder."""
    return output.run(config.run_name).finished(config.to_yaml())


def _carry_out(
    waiting: Mapping[str, Config], output: OutputFolder, jobs: int, threads: int
) -> Iterator[Record]:
    """The records of the runs as they end, in any order."""
    left = dict(waiting)
    for attempt in range(ATTEMPTS):
        calls = [
            joblib.delayed(_worker)(config.to_yaml(), str(output.path), threads)
            for config in left.values()
        ]
        if not calls:
            return
        try:
            with joblib.parallel_config(backend="loky", inner_max_num_threads=threads):
                parallel = joblib.Parallel(
                    n_jobs=min(jobs, len(calls)), return_as="generator_unordered", batch_size=1
                )
                for record in parallel(calls):
                    left.pop(record["name"])
                    yield record
        except TerminatedWorkerError as error:
            for name, config in list(left.items()):
                done = finished(config, output)
                if done or attempt + 1 == ATTEMPTS:
                    left.pop(name)
                    yield done or _record_failure(config, output, error)
        except BaseException:
            get_reusable_executor().shutdown(wait=True, kill_workers=True)
            raise


def _worker(yaml: str, path: str, threads: int) -> Record:
    """One run in a process of its own; whatever goes wrong becomes its record."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    torch.set_num_threads(threads)
    logging.getLogger("pyro").setLevel(logging.WARNING)
    config, output = Config.from_yaml(yaml), OutputFolder.open(path)
    try:
        return run(config, output.run(config.run_name), progress=False)
    except Exception as error:
        return _record_failure(config, output, error)


def _record_failure(config: Config, output: OutputFolder, error: BaseException) -> Record:
    folder = output.run(config.run_name)
    if folder.record()["status"] != "failed":
        if isinstance(error, TerminatedWorkerError):
            error = RuntimeError("the process of this run died, perhaps for want of memory")
        folder.start(config.to_yaml())
        folder.write_record(failure(config, folder.name, error))
    return folder.record()
