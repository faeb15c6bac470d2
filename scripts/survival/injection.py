"""Infinities and NaN planted in data, loss, gradient, parameter and learning rate."""

from __future__ import annotations

import functools
import itertools
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from figures import Figure
from kills import TMP

from pyrovae import checkpoint
from pyrovae.fit import fit
from pyrovae.guides import Amortized
from pyrovae.models import VAE
from pyrovae.objectives import ELBO
from pyrovae.training.checkpoint_folder import CheckpointFolder
from pyrovae.training.loop import Trainer
from pyrovae.training.non_finite import NonFiniteError, explain

X = torch.rand(64, 6, generator=torch.Generator().manual_seed(0))
NOT_NUMBERS = (math.nan, math.inf, -math.inf)
LEVELS = ("eager", "traced")
EPOCHS, ROUNDS = 5, 4
ADAM = functools.partial(torch.optim.Adam, lr=1e-3)


class Counting(VAE):
    """Is told the number of the step by a buffer, so that one played from a recording hears it too."""

    def __init__(self, at: int, where: str, value: float) -> None:
        VAE.__init__(self, 6, latent=2, hidden=(8,))
        self.register_buffer("now", torch.zeros(()))
        self.at, self.where, self.value = at, where, value

    def forward(self, x: torch.Tensor, index: Any = None, size: Any = None) -> Any:
        """As the VAE, with a number that is none in one call of many."""
        if not self.training:
            return VAE.forward(self, x, index, size)
        poison = torch.where(self.now == self.at, self.value, 0.0)
        if self.where == "data":
            row = torch.arange(len(x), device=x.device) == 3
            x = x + torch.where(row, poison, 0.0)[:, None]
        elif self.where == "gradient":
            x = x + Poison.apply(next(self.parameters()), poison)
        return VAE.forward(self, x, index, size)


class Poison(torch.autograd.Function):
    """0 forwards, and a gradient that is none backwards."""

    @staticmethod
    def forward(ctx: Any, parameter: torch.Tensor, poison: torch.Tensor) -> torch.Tensor:
        """Nothing."""
        ctx.save_for_backward(parameter, poison)
        return torch.zeros_like(poison)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Poison."""
        parameter, poison = ctx.saved_tensors
        return torch.zeros_like(parameter) + poison, None


class Poisoned(ELBO):
    """A loss that is no number in one step."""

    def __init__(self, at: int, value: float) -> None:
        ELBO.__init__(self)
        self.at, self.poison = at, value
        self.now = torch.zeros(())

    def state(self) -> dict[str, torch.Tensor]:
        """With the number of the step."""
        return {**ELBO.state(self), "now": self.now}

    def value(self, particles: Any) -> torch.Tensor:
        """As ever but once."""
        value = ELBO.value(self, particles)
        return value + torch.where(self.now == self.at, self.poison, 0.0)


def injected(quick: bool) -> list[Figure]:
    """Every way in, every value, eager and recorded, early and late in a fit."""
    cases = list(_cases())[:: 7 if quick else 1]
    stopped = kept = located = 0
    for case in cases:
        right, good, found = _outcome(*case)
        stopped, kept, located = stopped + right, kept + good, located + found
    total = len(cases)
    return [
        Figure(
            "NaN and infinities in data, loss, gradient, parameter, learning rate: stopped",
            stopped,
            total,
        ),
        Figure(
            "  the state left is that before the bad step, to the bit, and a checkpoint",
            kept,
            total,
        ),
        Figure("  the sentence names the step, and the site, parameter or rows", located, total),
    ]


def _cases() -> Iterator[tuple[str, float, str, int]]:
    for where, value, level, at in itertools.product(
        ("data", "loss", "gradient", "parameter", "rate"), NOT_NUMBERS, LEVELS, (1, 2, 7, 18)
    ):
        # NaN in the data is a missing value, and a rate below 0 is refused by the optimiser itself.
        if not (where == "rate" and value < 0) and not (where == "data" and math.isnan(value)):
            yield where, value, level, at


def _outcome(where: str, value: float, level: str, at: int) -> tuple[bool, bool, bool]:
    """Whether it was stopped, the good state kept, and the place named."""
    with tempfile.TemporaryDirectory(dir=TMP) as name:
        folder = Path(name)
        expected: dict[str, torch.Tensor] = {}
        parameters: dict[str, torch.Tensor] = {}
        try:
            _fit(where, value, level, at, folder, parameters, expected)
            return False, False, False
        except NonFiniteError as error:
            told = error
        good = all(torch.equal(p, expected[n]) for n, p in parameters.items())
        newest = CheckpointFolder(folder).manifests()[0]
        saved = checkpoint.load(newest.with_suffix(".safetensors"))[0]
        good &= all(torch.equal(p, saved[f"now.{n}"]) for n, p in parameters.items())
    place = {
        "data": told.site is not None and len(told.rows) == 1,
        "loss": told.kind == "loss" and len(told.rows) == 16,
        "gradient": told.parameter is not None and told.kind == "gradient",
        "parameter": told.parameter is not None,
        "rate": told.parameter is not None and told.kind == "update",
    }[where]
    return True, good, bool(place) and told.step == at and f"step {at} " in str(told)


def _fit(
    where: str,
    value: float,
    level: str,
    at: int,
    folder: Path,
    parameters: dict[str, torch.Tensor],
    expected: dict[str, torch.Tensor],
) -> None:
    """Fit with a planted number; gives the parameters themselves, and copies from before the bad step."""
    torch.manual_seed(0)
    model = Counting(at if where in ("data", "gradient") else -1, where, value)
    guide = Amortized(6, 2, hidden=(8,))
    named = checkpoint.parameters(model=model, guide=guide)
    parameters.update({name: p for name, p in named.items() if p.requires_grad})
    objective = Poisoned(at if where == "loss" else -1, value)
    optim = ADAM
    original = Trainer.step
    numbers: list[int] = []

    def tell(number: int) -> None:
        numbers.append(number)
        model.now.fill_(number)
        objective.now.fill_(number)

    def explained(*args: Any) -> Any:
        tell(numbers[-1])  # the state was put back to before the step, and these with it
        return explain(*args)

    def step(trainer: Trainer, index: torch.Tensor) -> None:
        if trainer.state.steps == at - 1 and not expected:
            expected.update({name: p.detach().clone() for name, p in parameters.items()})
        tell(trainer.state.steps + 1)
        if where == "rate" and trainer.state.steps + 1 >= at and at > 0:
            for group in trainer.state.svi.optimizer.param_groups:
                group["lr"] = value
        original(trainer, index)
        if where == "parameter" and trainer.state.steps == at:
            with torch.no_grad():
                next(iter(parameters.values())).view(-1)[0] = value

    with (
        mock.patch.object(Trainer, "step", step),
        mock.patch("pyrovae.training.guard.explain", explained),
    ):
        fit(
            model,
            guide,
            X,
            objective,
            optim=optim,
            epochs=EPOCHS,
            batch_size=16,
            progress=False,
            level=level,
            run_dir=folder,
            checkpoint_seconds=None,
        )
