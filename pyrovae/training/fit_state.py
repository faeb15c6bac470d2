"""All that the next step of a fit depends on, as named tensors and JSON, and back.

Tensors are handed out as they are at work, not copied, and put back in place, so that a recorded step
and an optimiser that hold them go on holding them.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy as copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from pyrovae.checkpoint import check_finite, check_same, put_back
from pyrovae.distributed.batches import OwnBatches
from pyrovae.sources.batches import Batches
from pyrovae.storage.optimizer_state import set_schedule
from pyrovae.storage.packing import pack, referred, unpack
from pyrovae.svi import SVI
from pyrovae.training.progress import Measurement
from pyrovae.training.randomness import read_random, set_random
from pyrovae.training.svi_state import compiled_kinds, read_svi, set_svi

# Calls after which a step does the same ever after: eager, recorded, checked, compiled.
ENOUGH = 5


@dataclass
class FitState:
    """Where a fit is.

    Args:
        svi: takes the steps.
        batches: which rows come next.
        scheduler: of the learning rate, or None.
        tensors: those that are trained, and buffers, by name.
        total: sum of the losses of the epoch so far, on the device.
        measured: one entry for every epoch that is over.
        steps: taken so far.
        seconds: spent before this process took the fit up.
        best: the best bound of the validation rows.
        best_epoch: when that was.
        best_tensors: copies of ``tensors`` from then.
        kinds: of batches so far: where the first of each kind was, and how many there were, up to a few.
        over: whether there is nothing left to train.
        stopped_early: whether patience ran out.
    """

    svi: SVI
    batches: Batches | OwnBatches
    scheduler: LRScheduler | None
    tensors: dict[str, Tensor]
    total: Tensor
    measured: list[Measurement] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    best: float = -torch.inf
    best_epoch: int = 0
    best_tensors: dict[str, Tensor] | None = None
    kinds: dict[str, list[int]] = field(default_factory=dict)
    over: bool = False
    stopped_early: bool = False

    @classmethod
    def at_the_start(
        cls,
        svi: SVI,
        batches: Batches | OwnBatches,
        scheduler: LRScheduler | None,
        tensors: dict[str, Tensor],
        device: torch.device,
    ) -> FitState:
        """Before the first step; ``device`` is where losses are."""
        total = torch.zeros((), device=device, dtype=torch.float64)
        return cls(svi, batches, scheduler, tensors, total)

    def named(self) -> dict[str, Tensor]:
        """Every parameter and buffer by name, those in Pyro's store too."""
        stored = self.svi._function.stored()
        return self.tensors | {f"store.{name}": tensor for name, tensor in stored.items()}

    def note(self, index: Tensor, missing: bool) -> None:
        """Note the kind of a batch just handed out: what `pyrovae.SVI` does with it depends on the kind."""
        if isinstance(self.batches, OwnBatches):
            return
        kind = f"{len(index)}, some missing" if missing else f"{len(index)}"
        seen = self.kinds.get(kind)
        if seen is None:
            end = self.batches.position
            self.kinds[kind] = [self.batches.epoch, end - len(index), end, 1]
        elif seen[3] < ENOUGH:
            seen[3] += 1

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors, as they are at work, and what JSON holds."""
        named = self.named()
        tensors = {f"now.{name}": tensor for name, tensor in named.items()} | {"total": self.total}
        if self.best_tensors is not None:
            tensors |= {f"best.{name}": tensor for name, tensor in self.best_tensors.items()}
        nested = {
            "svi": read_svi(self.svi, named),
            "compiled": compiled_kinds(self.svi),
            "schedule": None if self.scheduler is None else self.scheduler.state_dict(),
            "random": read_random(self.total.device),
            "batches": self.batches.state_dict(),
            "measured": [tuple(at) for at in self.measured],
            **{name: copy(getattr(self, name)) for name in _PLAIN},
        }
        found = {name: pack(value, tensors, name) for name, value in nested.items()}
        return tensors, found

    @torch.no_grad()
    def put(self, tensors: Mapping[str, Tensor], plain: Any, *, convert: bool = False) -> None:
        """Go back, or on, to what `read` returned.

        Args:
            tensors: by name; they are copied.
            plain: the rest.
            convert: whether tensors of another precision are taken.

        Raises:
            ValueError: it is the state of another fit; nothing was changed unless the sentence is about
                the optimiser, the schedule or the objective.
        """
        nested = unpack(plain, tensors)
        named = self.named()
        _check_fits(nested, tensors, named, convert)
        _check_others(plain, tensors, self.read()[0], convert)
        try:
            self._put(nested, tensors, named)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"the saved state does not fit this fit: {error}") from error

    def _put(
        self, nested: Mapping[str, Any], tensors: Mapping[str, Tensor], named: dict[str, Tensor]
    ) -> None:
        self.batches.load_state_dict(nested["batches"])
        put_back(named, {name: tensors[f"now.{name}"] for name in named})
        self.total.copy_(tensors["total"])
        set_svi(self.svi, nested["svi"], named)
        if self.scheduler is not None:
            set_schedule(self.scheduler, nested["schedule"])
        self.measured = [Measurement(*row) for row in nested["measured"]]
        for name in _PLAIN:
            setattr(self, name, nested[name])
        best = {name: tensors[f"best.{name}"] for name in named if f"best.{name}" in tensors}
        like = self.total.device
        self.best_tensors = {k: v.to(like, copy=True) for k, v in best.items()} if best else None
        set_random(nested["random"], like)


_PLAIN: dict[str, type] = {
    "steps": int,
    "seconds": float,
    "best": float,
    "best_epoch": int,
    "kinds": dict,
    "over": bool,
    "stopped_early": bool,
}
_SECTIONS = {"svi", "compiled", "schedule", "random", "batches", "measured", *_PLAIN}


def _check_fits(
    nested: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    named: Mapping[str, Tensor],
    convert: bool,
) -> None:
    """Refuse a state that is whole but not of this fit, or that no fit would have written."""
    if not isinstance(nested, dict):
        raise ValueError("this is not the state of a fit")
    wrong = [name for name in _SECTIONS if name not in nested]
    wrong += [name for name, kind in _PLAIN.items() if not isinstance(nested.get(name), kind)]
    if wrong or "total" not in tensors:
        raise ValueError(f"this is not the state of a fit: {(wrong or ['total'])[0]!r} is missing")
    if min(nested["steps"], nested["best_epoch"], nested["seconds"]) < 0:
        raise ValueError("this is not the state of a fit: it counts below 0")
    measured = nested["measured"]
    if not isinstance(measured, list) or not all(map(_is_measurement, measured)):
        raise ValueError("this is not the state of a fit: its measurements are not measurements")
    came = {k.removeprefix("now."): t for k, t in tensors.items() if k.startswith("now.")}
    best = {k.removeprefix("best."): t for k, t in tensors.items() if k.startswith("best.")}
    for found in (came, best) if best else (came,):
        check_same(found, named, convert=convert)
        check_finite({k: t for k, t in found.items() if named[k].requires_grad})


def _check_others(
    plain: Any, tensors: Mapping[str, Tensor], here: Mapping[str, Tensor], convert: bool
) -> None:
    """Refuse tensors besides parameters that nothing refers to, or that are of another make."""
    left = set(tensors) - {"total"} - referred(plain)
    left = {name for name in left if not name.startswith(("now.", "best."))}
    if left:
        raise ValueError(
            f"the checkpoint holds tensors that no fit writes: {', '.join(sorted(left))}"
        )
    for name, there in tensors.items():
        like = here.get(name, there)
        both_float = like.is_floating_point() and there.is_floating_point()
        if like.shape != there.shape or (
            like.dtype != there.dtype and not (convert and both_float)
        ):
            raise ValueError(
                f"the checkpoint does not fit: {name} is {there.dtype} {tuple(there.shape)} there and "
                f"{like.dtype} {tuple(like.shape)} here"
            )
        if name.startswith(("svi.", "total")) and bool(there.isnan().any()):
            raise ValueError(f"the checkpoint holds numbers that are none in {name}; use another")


def _is_measurement(row: Any) -> bool:
    whole = Measurement._fields.index("seconds")
    return (
        isinstance(row, tuple)
        and len(row) == len(Measurement._fields)
        and all(type(n) is int and n >= 0 for n in row[:whole])
        and all(type(n) is float for n in row[whole:])
    )


def some_of_each_kind(batches: Batches | OwnBatches, plain: Any) -> list[Tensor]:
    """Batches of the kinds that a saved state saw, as often as it takes to record or compile their steps."""
    kinds = kinds_of(plain)
    if isinstance(batches, OwnBatches) or not kinds:
        return [torch.zeros(1, dtype=torch.int64)]
    return [index for epoch, a, b, count in kinds for index in count * [batches.order(epoch)[a:b]]]


def kinds_of(plain: Any) -> list[list[int]]:
    """What a saved state says of the kinds of batches, each as [epoch, start, end, count].

    Raises:
        ValueError: it says nothing of the kind.
    """
    found = plain.get("kinds") if isinstance(plain, dict) else None
    kinds = list(found.values()) if isinstance(found, dict) else []
    for kind in kinds:
        numbers = isinstance(kind, list) and len(kind) == 4 and all(type(n) is int for n in kind)
        if not numbers or not 0 <= kind[1] < kind[2] or not 1 <= kind[3] <= ENOUGH or kind[0] < 0:
            raise ValueError("this is not the state of a fit: its batches are not batches")
    return kinds
