"""One run, from its configuration to its record: the table of contents of everything below."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from pyrovae.distributed.group import LostProcessError, current
from pyrovae.fit import fit
from pyrovae.records import Record, RunFolder
from pyrovae.registry.parts import build
from pyrovae.registry.plain import whole_number
from pyrovae.running.config import Config, Part
from pyrovae.running.evaluation import Evaluation, evaluate
from pyrovae.running.finished import other_rows, rows_of_ones_own
from pyrovae.running.pictures import pictures
from pyrovae.running.run_record import failure, label, success
from pyrovae.running.turns import held, keep, restore
from pyrovae.sources.dataset import DataSet
from pyrovae.sources.dataset import Part as PartName
from pyrovae.training.feed import Initialised, check_together, feed, place
from pyrovae.training.history import History
from pyrovae.training.progress import Measurement, MetricsLog
from pyrovae.training.resume import Keeping, ResumeError


@dataclass(frozen=True)
class Experiment:
    """The parts of a run, made and ready to be fitted."""

    config: Config
    data: DataSet
    model: Any
    guide: Any
    objective: Any
    estimator: Callable[..., Any]

    @classmethod
    def build(cls, config: Config) -> Experiment:
        """Make every part of a configuration; nothing is trained and nothing written.

        Raises:
            ValueError: an unknown name, or an option with an impossible value.
            TypeError: an option that a part does not have, or parts that do not go together.
        """
        config = config.complete()
        if "num_particles" in config.objective.options:
            whole_number("num_particles", config.objective.options["num_particles"], least=1)

        data = _make(config.data, "data")
        objective = _make(config.objective, "objective")
        estimator = _make(config.evidence, "evidence")
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            sizes = {"features": data.features, "size": len(data.train)}
            model = _make(config.model, "model", **sizes)
            if isinstance(getattr(model, "latent", None), int):
                sizes["latent"] = model.latent
            guide = _make(config.guide, "guide", **sizes, model=model)
        place(config.device, model, guide)
        check_together(feed(data, None, model, guide), model, guide, config.fit["batch_size"])
        return cls(config, data, model, guide, objective, estimator)

    def train(
        self,
        *,
        progress: bool = True,
        label: str = "fit",
        on_epoch: Callable[[Measurement], None] | None = None,
        folder: RunFolder | None = None,
        keeping: Keeping | None = None,
    ) -> History:
        """Initialise and fit; the parts hold the best parameters afterwards."""
        config, keeping = self.config, keeping or Keeping()
        begun = folder is not None and folder.has_checkpoints
        if isinstance(self.model, Initialised) and not begun:
            self.model.initialise(self.data.fixed("train").to(config.device), seed=config.seed)
        schedule = config.scheduler
        return fit(
            self.model,
            self.guide,
            self.data,
            self.objective,
            optim=lambda parameters: _make(config.optim, "optim", params=parameters),
            scheduler=None if schedule is None else partial(_schedule, schedule),
            seed=config.seed,
            progress=progress,
            label=label,
            on_epoch=on_epoch,
            run_dir=None if folder is None else folder.checkpoints_path,
            resume=False if folder is None else keeping.resume,
            checkpoint_steps=keeping.steps,
            checkpoint_seconds=keeping.seconds,
            **config.fit,
        )

    def evaluate(self, part: PartName = "test") -> Evaluation:
        """Score the rows of one part of the data."""
        return evaluate(
            self.model,
            self.guide,
            self.data,
            self.estimator,
            part=part,
            seed=self.config.seed,
            **self.config.evaluate,
        )


def run(
    config: Config,
    folder: RunFolder | None = None,
    *,
    progress: bool = True,
    on_epoch: Callable[[Measurement], None] | None = None,
    keeping: Keeping | None = None,
) -> Record:
    """Build, fit, evaluate and record one run.

    Args:
        config: what to do.
        folder: where to write it; None writes nothing.
        progress: show a bar.
        on_epoch: called with a `Measurement` at the end of every epoch.
        keeping: when checkpoints are written, and whether to go on from one.

    Returns:
        The record of the finished run; bounds in nats per datapoint.

    Raises:
        Exception: whatever stopped the run. Before training began, nothing was written; after that the
            folder holds a record of the failure. KeyboardInterrupt leaves a checkpoint and no record.
    """
    experiment, group, keeping = Experiment.build(config), current(), keeping or Keeping()
    config = experiment.config
    if folder is None:
        return _carry_out(experiment, config.run_name, None, progress, on_epoch, keeping)
    with held(group, folder, config, keeping) as keeping:
        try:
            record = _carry_out(experiment, folder.name, folder, progress, on_epoch, keeping)
        except (ResumeError, LostProcessError):
            raise
        except Exception as error:
            if group.leads:
                with suppress(OSError):  # what went wrong first is what is to be told
                    folder.write_record(failure(config, folder.name, error))
            raise
        if group.leads:
            folder.remove_checkpoints()
    return record


def configuration(folder: RunFolder) -> Config:
    """What a run was told to do.

    Raises:
        ValueError: the folder is not that of a run.
    """
    text = folder.config()
    if text is None:
        raise ValueError(
            f"{folder.path} is not the folder of a run: it has no config.yaml. Name a folder such as "
            "results/runs/NAME."
        )
    return Config.from_yaml(text)


def load(folder: RunFolder, config: Config | None = None) -> Experiment:
    """The parts of a finished run, with the parameters that it ended with.

    Args:
        folder: of the run.
        config: what else it shall do, such as another estimator; by default what it was told.

    Raises:
        ValueError: the folder holds no finished run, its files do not belong together, or the data
            are others.
    """
    experiment = Experiment.build(configuration(folder) if config is None else config)
    if other_rows(folder.record(), experiment.config, experiment.data):
        raise ValueError(
            f"{experiment.config.data.name} has other rows than when {folder.path} was run: put the old data "
            "back, or fit again"
        )
    restore(folder, len(experiment.data.train), model=experiment.model, guide=experiment.guide)
    for program in (experiment.model, experiment.guide):
        program.eval()
    return experiment


def _carry_out(
    experiment: Experiment,
    name: str,
    folder: RunFolder | None,
    progress: bool,
    on_epoch: Callable[[Measurement], None] | None,
    keeping: Keeping,
) -> Record:
    config, group = experiment.config, current()
    with MetricsLog(folder if group.leads else None) as metrics:

        def each_epoch(at: Measurement) -> None:
            metrics.add(at)
            if on_epoch is not None:
                on_epoch(at)

        began = time.perf_counter()
        history = experiment.train(
            progress=progress,
            label=label(config),
            on_epoch=each_epoch,
            folder=folder,
            keeping=keeping,
        )
        trained = time.perf_counter()
    if folder is not None:
        parts = {"model": experiment.model, "guide": experiment.guide}
        keep(group, folder, len(experiment.data.train), **parts)
    if not group.leads:
        return Record(name=name, status="finished", error=None)  # the first one scores and writes
    evaluation = experiment.evaluate()
    record = success(
        config,
        name,
        experiment.data.describe() | rows_of_ones_own(config, experiment.data),
        history,
        evaluation.summary(),
        train_seconds=max(trained - began, float(history.seconds[-1])),
        evaluate_seconds=time.perf_counter() - trained,
    )
    if folder is not None:
        drawn = pictures(experiment.model, evaluation.guide, experiment.data, seed=config.seed)
        folder.write_arrays(drawn | evaluation.arrays())
        folder.write_record(record)
    return record


def _make(part: Part, kind: str, **available: Any) -> Any:
    return build(kind, part.name, part.options, **available)


def _schedule(part: Part, optimizer: torch.optim.Optimizer) -> Any:
    return _make(part, "scheduler", optimizer=optimizer)
