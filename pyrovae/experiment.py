"""One run, from its configuration to its record: the table of contents of everything below."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pyrovae import checkpoint
from pyrovae.config import Config, Part
from pyrovae.dataset import DataSet
from pyrovae.dataset import Part as PartName
from pyrovae.evaluation import Evaluation, evaluate
from pyrovae.feed import check_together, feed
from pyrovae.fit import fit
from pyrovae.history import History
from pyrovae.parts import build
from pyrovae.pictures import pictures
from pyrovae.plain import whole_number
from pyrovae.progress import Measurement, MetricsLog
from pyrovae.records import Record, RunFolder
from pyrovae.run_record import failure, label, success


@runtime_checkable
class Initialised(Protocol):
    """A model that looks at the data before training begins."""

    def initialise(self, x: Tensor, seed: int = 0) -> Any:
        """Choose parameters to start from, from rows ``x`` (N, D)."""
        ...


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
        _place(config.device, model, guide)
        check_together(feed(data, None, model, guide), model, guide, config.fit["batch_size"])
        return cls(config, data, model, guide, objective, estimator)

    def train(
        self,
        *,
        progress: bool = True,
        label: str = "fit",
        on_epoch: Callable[[Measurement], None] | None = None,
    ) -> History:
        """Initialise and fit; the parts hold the best parameters afterwards."""
        config = self.config
        if isinstance(self.model, Initialised):
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
) -> Record:
    """Build, fit, evaluate and record one run.

    Args:
        config: what to do.
        folder: where to write it; None writes nothing.
        progress: show a bar.
        on_epoch: called with a `Measurement` at the end of every epoch.

    Returns:
        The record of the finished run; bounds in nats per datapoint.

    Raises:
        Exception: whatever stopped the run. Before training began, nothing was written; after that the
            folder holds a record of the failure.
    """
    experiment = Experiment.build(config)
    config = experiment.config
    name = config.run_name if folder is None else folder.name
    if folder is not None:
        folder.start(config.to_yaml())
    try:
        return _carry_out(experiment, name, folder, progress, on_epoch)
    except Exception as error:
        if folder is not None:
            folder.write_record(failure(config, name, error))
        raise


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
        ValueError: the folder holds no finished run, or its files do not belong together.
    """
    experiment = Experiment.build(configuration(folder) if config is None else config)
    tensors, _ = checkpoint.load(folder.parameters_path)
    checkpoint.restore(tensors, model=experiment.model, guide=experiment.guide)
    return experiment


def _carry_out(
    experiment: Experiment,
    name: str,
    folder: RunFolder | None,
    progress: bool,
    on_epoch: Callable[[Measurement], None] | None,
) -> Record:
    config = experiment.config
    with MetricsLog(folder) as metrics:

        def each_epoch(at: Measurement) -> None:
            metrics.add(at)
            if on_epoch is not None:
                on_epoch(at)

        began = time.perf_counter()
        history = experiment.train(progress=progress, label=label(config), on_epoch=each_epoch)
        trained = time.perf_counter()
    evaluation = experiment.evaluate()
    record = success(
        config,
        name,
        experiment.data.describe(),
        history,
        evaluation.summary(),
        train_seconds=trained - began,
        evaluate_seconds=time.perf_counter() - trained,
    )
    if folder is not None:
        trained_parts = {"model": experiment.model, "guide": experiment.guide}
        checkpoint.save(
            folder.parameters_path, checkpoint.parameters(**trained_parts), {"run": name}
        )
        drawn = pictures(experiment.model, evaluation.guide, experiment.data, seed=config.seed)
        folder.write_arrays(drawn | evaluation.arrays())
        folder.write_record(record)
    return record


def _place(device: str, *modules: torch.nn.Module) -> None:
    """Move modules to a device.

    Raises:
        ValueError: there is no such device here.
    """
    try:
        for module in modules:
            module.to(device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).partition("\n")[0]
        raise ValueError(f"The device {device!r} cannot be used: {why}") from error


def _make(part: Part, kind: str, **available: Any) -> Any:
    return build(kind, part.name, part.options, **available)


def _schedule(part: Part, optimizer: torch.optim.Optimizer) -> Any:
    return _make(part, "scheduler", optimizer=optimizer)
