"""What is said when a number of a fit stops being one: where, at which rows, and what usually helps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.programs import own_parameters
from pyrovae.svi import SVI

MOST_NAMED = 8
_CAUSES = {
    "data": "the data hold infinite values: remove or replace these rows",
    "site": (
        "take a smaller learning rate or clip_norm; other usual causes are a scale that went to 0 (give it "
        "a floor), logits or rates that overflow, and rows far from all others"
    ),
    "loss": (
        "take a smaller learning rate or clip_norm; other usual causes are an exponential that overflows, "
        "and a division by 0 or its logarithm in the objective"
    ),
    "gradient": (
        "usual causes are the square root, logarithm or norm of 0, torch.where around a branch that is "
        "not a number, and steps that are too large: take a smaller learning rate or clip_norm"
    ),
    "update": "the step itself was too large: take a smaller learning rate",
    "outside": "something other than a step changed it: look at callbacks and hooks",
}


@dataclass(frozen=True)
class Finding:
    """What became infinite or not a number, and where.

    Args:
        kind: data, site, loss, gradient, update or outside.
        what: the beginning of a sentence.
        rows: row numbers in the data.
        site: name of a sample site, if one is to blame.
        parameter: name of a parameter, if one is concerned.
    """

    kind: str
    what: str
    rows: list[int]
    site: str | None = None
    parameter: str | None = None

    @classmethod
    def of_parameters(cls, kind: str, bad: Mapping[str, float], rest: str = "") -> Finding:
        """That these parameters are no longer numbers, but such values."""
        if not bad:
            return cls(kind, f"the loss became infinite or not a number{rest}", [])
        name, first = next(iter(bad.items()))
        more = f" (and {len(bad) - 1} more parameters)" if len(bad) > 1 else ""
        return cls(kind, f"the parameter {name}{more} became {first}{rest}", [], parameter=name)


class NonFiniteError(FloatingPointError):
    """A loss, gradient or parameter became infinite or not a number; the step was not applied.

    Args:
        found: what and where.
        step: number of the step, from 1.
        epoch: number of its epoch, from 1.
        kept: what became of the parameters.

    Attributes:
        step, epoch: as above.
        kind: data, site, loss, gradient, update or outside.
        site: name of the sample site, or None.
        parameter: name of the first parameter concerned, or None.
        rows: row numbers in the data: those concerned where they are known, else the whole batch.
    """

    def __init__(self, found: Finding, *, step: int, epoch: int, kept: str) -> None:
        self.step, self.epoch = step, epoch
        self.kind, self.site = found.kind, found.site
        self.parameter, self.rows = found.parameter, found.rows
        super().__init__(
            f"{found.what} in step {step} of epoch {epoch}{_rows(found.rows)}; {kept}. "
            f"{_CAUSES[found.kind][0].upper()}{_CAUSES[found.kind][1:]}."
        )


class Watch(Messenger):
    """Notes the first sample sites whose value or log-probability is infinite or not a number.

    Args:
        size: B, datapoints in the batch.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.found: list[
            tuple[str, str, list[int]]
        ] = []  # site, what is wrong, places in the batch

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        value, fn = msg["value"], msg["fn"]
        if not isinstance(value, Tensor) or site_is_subsample(msg):
            return
        drawn = value.is_floating_point() and not msg["is_observed"]
        if drawn and not bool(value.isfinite().all()):
            bad = ~value.isfinite()
            self._note(msg, "a value drawn", value, bad.flatten(bad.ndim - fn.event_dim).any(-1)
                       if fn.event_dim else bad)  # fmt: skip
            return
        try:
            with torch.no_grad():
                log_prob = fn.log_prob(value)
        except (ValueError, RuntimeError):
            return
        if isinstance(msg["mask"], Tensor | bool):
            log_prob = torch.where(torch.as_tensor(msg["mask"]), log_prob, 0.0)
        if not bool(log_prob.isfinite().all()):
            self._note(msg, "the log-probability", log_prob, ~log_prob.isfinite())

    def _note(self, msg: dict[str, Any], what: str, values: Tensor, bad: Tensor) -> None:
        rows: list[int] = []
        for frame in msg["cond_indep_stack"]:
            if frame.vectorized and frame.size == self.size and bad.ndim >= -frame.dim:
                by_row = bad.movedim(frame.dim, 0).reshape(self.size, -1)
                rows = by_row.any(1).nonzero().flatten().tolist()
                break
        first = values[~values.isfinite()][0].item()
        self.found.append((msg["name"], f"{what} at site {msg['name']!r} became {first}", rows))


def explain(
    svi: SVI,
    named: Mapping[str, Tensor],
    x: Tensor,
    extras: Mapping[str, Any],
    index: Tensor,
    after: Mapping[str, float],
) -> Finding | None:
    """Compute the loss and the gradient of a step that fails, and find where it does.

    Args:
        svi: whose step it is; it is not taken.
        named: parameters and buffers by name, as they were before the step.
        x: (B, D), the batch.
        extras: what else the programs are given.
        index: (B,) row numbers of the batch.
        after: the parameters that were no longer numbers after the step, and what they were.
    """
    numbers = index.tolist()
    infinite = x.isinf().any(1) if x.is_floating_point() else torch.zeros(len(x), dtype=torch.bool)
    if bool(infinite.any()):
        rows = [numbers[i] for i in infinite.nonzero().flatten().tolist()]
        return Finding("data", "the data became infinite", rows)
    watch = Watch(len(x))
    with pyro.validation_enabled(False), own_parameters(), watch:
        try:
            loss = _gradients(svi, x, extras)
        except (RuntimeError, ValueError):
            loss = None
    gradients = {k: t.grad for k, t in named.items() if t.grad is not None}
    for tensor in named.values():
        tensor.grad = None
    if watch.found:
        site, what, places = watch.found[0]
        return Finding("site", what, [numbers[i] for i in places] or numbers, site=site)
    if loss is not None and not math.isfinite(loss):
        return Finding("loss", f"the loss became {loss}", numbers)
    for name, gradient in gradients.items():
        if not bool(gradient.isfinite().all()):
            first = gradient[~gradient.isfinite()][0].item()
            rows = _rows_of_table(gradient, numbers)
            return Finding(
                "gradient", f"the gradient of {name} became {first}", rows, parameter=name
            )
    if after:
        found = Finding.of_parameters("update", after)
        return replace(found, rows=numbers)
    return None


def _gradients(svi: SVI, x: Tensor, extras: Mapping[str, Any]) -> float:
    """The loss; the gradient is left in ``.grad``."""
    objective: Any = svi.loss
    if not hasattr(objective, "differentiable_loss"):
        return float(objective.loss_and_grads(svi.model, svi.guide, x, **extras))
    loss = objective.differentiable_loss(svi.model, svi.guide, x, **extras)
    loss.backward()
    return float(loss.detach())


def _rows_of_table(gradient: Tensor, numbers: list[int]) -> list[int]:
    """The rows of the batch that a gradient of a table with one row for each of the data blames."""
    bad = set((~gradient.isfinite()).reshape(len(gradient), -1).any(1).nonzero().flatten().tolist()
              if gradient.ndim else [])  # fmt: skip
    return [n for n in numbers if n in bad] if bad and bad <= set(numbers) else numbers


def _rows(rows: Sequence[int]) -> str:
    if not rows:
        return ""
    named = ", ".join(map(str, rows[:MOST_NAMED]))
    more = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
    return f" ({'row' if len(rows) == 1 else 'rows'} {named}{more} of the data)"


def of_error(error: Exception, step: int, rows: list[int]) -> Finding | None:
    """A finding, if a program failed because the parameters had gone where none can be."""
    if step == 1:
        return None  # nothing has moved yet: the program is at fault, and says so itself
    if isinstance(error, torch.linalg.LinAlgError):
        return Finding("site", "a matrix could no longer be decomposed", rows)
    if "to satisfy the constraint" in str(error):
        what = "a distribution was given parameters that it cannot have"
        return Finding("site", what, rows)
    return None
