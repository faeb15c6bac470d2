"""Fit a model and a guide to data: epochs, validation, early stopping, progress."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from numpy.typing import ArrayLike
from pyro.infer import ELBO as PyroELBO
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyrovae.distributed.group import current
from pyrovae.objectives import ELBO
from pyrovae.programs import Program
from pyrovae.registry.plain import whole_numbers
from pyrovae.sources.seeds import generator_from
from pyrovae.step.policy import settled
from pyrovae.step.precision import Precision
from pyrovae.svi import SVI, Level
from pyrovae.training.agreement import agreed
from pyrovae.training.feed import Data, Feed, check_together, modules
from pyrovae.training.fit_state import FitState
from pyrovae.training.history import History
from pyrovae.training.loop import Trainer
from pyrovae.training.optimizer import MakeOptimizer, make_optimizer, make_schedule
from pyrovae.training.processes import Processes
from pyrovae.training.progress import FitProgress, Measurement
from pyrovae.training.randomness import own_randomness
from pyrovae.training.resume import Resume, folder_of, take_up
from pyrovae.training.svi_state import find_stored


def fit(
    model: Program,
    guide: Program,
    data: Data,
    objective: PyroELBO | None = None,
    *,
    optim: PyroOptim | Optimizer | MakeOptimizer | None = None,
    scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    epochs: int = 100,
    batch_size: int = 128,
    shuffle: bool = True,
    patience: int | None = None,
    validate_every: int = 1,
    clip_norm: float | None = None,
    row_lr: float | None = None,
    validation: Tensor | ArrayLike | None = None,
    seed: int = 0,
    progress: bool = True,
    on_epoch: Callable[[Measurement], None] | None = None,
    label: str = "fit",
    run_dir: str | os.PathLike[str] | None = None,
    resume: Resume = False,
    checkpoint_steps: int | None = None,
    checkpoint_seconds: float | None = 60.0,
    level: Level = "auto",
    precision: Precision = "float32",
) -> History:
    r"""Train a model and a guide, and keep the parameters that were best on the validation rows.

    .. math:: \max_{\theta, \phi} \; \frac1N \sum_n \mathcal{L}(x_n; \theta, \phi)

    Noise of a `DataSet` (dequantization, binarisation) is drawn anew at every visit. A guide with
    parameters for every row (`PerDatapoint`) cannot score rows it was not fitted to, so for it only the
    training bound is tracked and the last parameters are kept. At the end both programs are in evaluation
    mode, where dropout does nothing.

    Started by torchrun, the processes fit together: each takes its part of every batch, and their
    gradients are averaged; see `pyrovae.distributed`. A guide with parameters for every row keeps those
    of the rows that this process owns. What looks at a batch as a whole, as `FreeBits` and batch
    normalisation do, sees the part of its process. All must be given the same data and options, or none
    begins. The first process alone shows progress and calls ``on_epoch``.

    Args:
        model: p(x, z), a Pyro program called as ``model(x, index=..., size=...)`` if both take these.
        guide: q(z | x), a Pyro program with the same arguments.
        data: a `DataSet`, or the training rows as an array or a DataFrame (N, D); NaN, and what is masked in
            a masked array, is a missing value.
        objective: any `pyro.infer.ELBO`; by default the evidence lower bound.
        optim: a function from parameters to a torch optimiser, such as
            ``functools.partial(torch.optim.Adam, lr=1e-3)`` (the default), or an optimiser.
        scheduler: a function from the optimiser to a learning-rate schedule, stepped once an epoch.
        epochs: passes over the data.
        batch_size: rows in a batch at most; batches of a pass are made as equal as they can be.
        shuffle: take the rows of every pass in a new random order; False takes them as they come.
        patience: stop after so many epochs without a better validation bound; None never stops early.
        validate_every: epochs between two measurements of the validation bound.
        clip_norm: the largest norm of the gradient of all parameters together; None does not clip.
        row_lr: learning rate of parameters that belong to single rows (the ``row_tables`` of a guide such as
            `PerDatapoint`), which a pass moves but once; None takes that of the others.
        validation: (M, D) validation rows where ``data`` is an array.
        seed: of the order of the data, its noise, and the particles.
        progress: show a bar on standard error.
        on_epoch: called with a `Measurement` at the end of every epoch; after a resume, with those before
            it first.
        label: what the bar says is being fitted.
        run_dir: a folder for checkpoints: the last two and the best parameters, safetensors and JSON. With
            one, Ctrl-C and SIGTERM finish the step and write a checkpoint; a second one stops at once.
        resume: go on from the newest checkpoint in ``run_dir``, if there is one, to the bit as if nothing
            had happened; ``"anyway"`` goes on where circumstances differ and the bits may.
        checkpoint_steps: steps between two checkpoints; None goes by the clock alone.
        checkpoint_seconds: seconds between two checkpoints; None goes by steps alone.
        level: how steps are taken, as in `pyrovae.SVI`; ``"auto"`` compiles them if they come to very much,
            by the number of steps, rows and particles, since compiled steps round differently and clocks
            must not decide on bits.
        precision: of the products in a step, as in `pyrovae.SVI`; validation bounds are in float32.

    Returns:
        A `History`.

    Raises:
        ValueError: the data is empty, infinite, or of another width than the model's ``features``; model
            and guide do not fit together; an option out of its range.
        TypeError: an option that does not apply, such as patience without validation rows; in several
            processes, a site that belongs to no row in programs that do not take ``size``.
        FloatingPointError: a loss, gradient or parameter became infinite or not a number, as
            `pyrovae.training.non_finite.NonFiniteError`, which says where; the step was not applied.
        OSError: a checkpoint could not be written; the one before it is intact.
        KeyboardInterrupt: a signal, after a checkpoint was written.
        ResumeError: a `ValueError`; the fit cannot go on as it began, and the sentence says why.

    Example:
        >>> import pyrovae, torch
        >>> model = pyrovae.models.ProbabilisticPCA(2, latent=1)
        >>> guide = pyrovae.guides.ExactPosterior(model)
        >>> history = fit(model, guide, torch.randn(50, 2), epochs=3, progress=False)
        >>> history.epoch.tolist()
        [1, 2, 3]
    """
    whole_numbers(epochs=epochs, batch_size=batch_size, validate_every=validate_every)
    generator_from(seed)  # refuses what is no seed
    group = current()
    many, source = Processes.divide(group, data, validation, model, guide)
    folder = folder_of(run_dir, resume, checkpoint_steps, checkpoint_seconds, many.shards)
    _check_patience(patience, source)
    rounds = -(-source.rows // batch_size)
    batches = many.batches(source, -(-source.rows // rounds), seed, shuffle)
    with own_randomness(seed, source.device), ExitStack() as stack:
        x, extras = check_together(source, model, guide, max(1, batches.batch_size // group.ranks))
        tensors, optimizer = make_optimizer(model, guide, optim, row_lr)
        rows = batches.batch_size * int(getattr(objective, "num_particles", 1))
        svi = SVI(
            model,
            guide,
            optimizer,
            _objective(objective),
            level=settled(level, epochs * rounds, rows),
            expected_steps=epochs * rounds,
            clip_norm=clip_norm,
            reproducible=True,
            precision=precision,
            share=many.shared,
        )
        find_stored(svi, x, extras)
        schedule = None if scheduler is None else make_schedule(scheduler, optimizer)
        state = FitState.at_the_start(svi, batches, schedule, tensors, source.device)
        options = {"batch size": batches.batch_size, "seed": seed, "validate_every": validate_every}
        setting = agreed(many, state, source, options, folder, (epochs, patience, row_lr))
        trainer = Trainer(state, source, epochs, patience, validate_every, folder, setting, many)
        if folder is not None:
            take_up(trainer, stack.enter_context(folder), resume)
        progress, said = progress and group.leads, on_epoch if group.leads else None
        with FitProgress(progress, said, epochs=epochs, steps=rounds, label=label) as shown:
            shown.step(state.steps)
            shown.again(state.measured)
            history = trainer.run(shown)
    for program in modules(model=model, guide=guide).values():
        program.eval()
    return history


def _objective(objective: PyroELBO | None) -> PyroELBO:
    if objective is None:
        return ELBO()
    if not isinstance(objective, PyroELBO):
        raise TypeError(
            "objective must be an instance of pyro.infer.ELBO, such as pyrovae.objectives.ELBO(); "
            f"got {objective!r}"
        )
    return objective


def _check_patience(patience: int | None, source: Feed) -> None:
    if patience is None:
        return
    whole_numbers(patience=patience)
    if source.validation is None:
        raise TypeError(
            "patience needs rows to validate on: give a DataSet or validation=...; a guide with "
            "parameters for every row cannot score rows it was not fitted to"
        )
