"""What an optimiser remembers, by the names of the parameters, and how to put it back in place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Nested = dict[str, Any]
KERNELS = ("fused", "foreach")  # which code computes a step, chosen when the first one is taken


def read_optimizer(optimizer: PyroOptim | Optimizer, names: Mapping[str, Tensor]) -> Nested:
    """The state of an optimiser as nested values; its tensors are the optimiser's own, not copies.

    Args:
        optimizer: of torch, or of Pyro, which has one for each parameter.
        names: every trained parameter by name.
    """
    known = {id(parameter): name for name, parameter in names.items()}
    if isinstance(optimizer, Optimizer):
        return _read(optimizer, known)
    return {
        "kind": type(optimizer).__name__,
        "each": {
            known[id(p)]: _read_one(made, known)
            for p, made in optimizer.optim_objs.items()
            if id(p) in known
        },
    }


@torch.no_grad()
def set_optimizer(
    optimizer: PyroOptim | Optimizer, saved: Nested, names: Mapping[str, Tensor]
) -> None:
    """Put back what `read_optimizer` returned; tensors that are there are written in place.

    Raises:
        ValueError: it is the state of another kind of optimiser, or of one with other parameters.
    """
    try:
        if isinstance(optimizer, Optimizer):
            _set(optimizer, saved, names)
            return
        _check_kind(optimizer, saved)
        made = {id(p): object for p, object in optimizer.optim_objs.items()}
        for name, parameter in names.items():
            if name not in saved["each"]:
                optimizer.optim_objs.pop(parameter, None)  # was made since
        for name, state in saved["each"].items():
            _set_one(made[id(names[name])], state, names)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"the saved state of the optimiser does not fit this one ({error}): use the optimiser, model "
            "and guide that it was saved with"
        ) from error


def use_own_options(
    optimizer: PyroOptim | Optimizer, changed: Collection[str], schedule: LRScheduler | None = None
) -> None:
    """Give an optimiser back options that it was made with, where a saved state brought others.

    Args:
        optimizer: after `set_optimizer`.
        changed: which options, such as ``lr``.
        schedule: goes on in proportion from another learning rate.
    """
    objects = optimizer.optim_objs.values() if isinstance(optimizer, PyroOptim) else [optimizer]
    for made in [getattr(made, "optimizer", made) for made in objects]:
        for group in made.param_groups:
            for key in set(changed) & made.defaults.keys() - {"lr"}:
                group[key] = made.defaults[key]
            if "lr" in changed:
                began = group.get("initial_lr", group["lr"])
                group["lr"] = made.defaults["lr"] * (group["lr"] / began)
                if "initial_lr" in group:
                    group["initial_lr"] = made.defaults["lr"]
    if schedule is not None and "lr" in changed:
        schedule.base_lrs = [group["initial_lr"] for group in schedule.optimizer.param_groups]


def _read_one(made: Optimizer | LRScheduler, known: Mapping[int, str]) -> Nested:
    if isinstance(made, Optimizer):
        return _read(made, known)
    return {"schedule": made.state_dict(), "optimizer": _read(made.optimizer, known)}


def _set_one(made: Optimizer | LRScheduler, saved: Nested, names: Mapping[str, Tensor]) -> None:
    if isinstance(made, Optimizer):
        _set(made, saved, names)
        return
    set_schedule(made, saved["schedule"])
    _set(made.optimizer, saved["optimizer"], names)


def set_schedule(schedule: LRScheduler, saved: Nested) -> None:
    """Put back the ``state_dict()`` of a learning-rate schedule.

    Raises:
        ValueError: it is that of another kind of schedule.
    """
    now = schedule.state_dict()
    if not isinstance(saved, dict) or saved.keys() != now.keys():
        raise ValueError(
            f"the saved state of the learning-rate schedule is not one of {type(schedule).__name__}: use "
            "the schedule that it was saved with"
        )
    for key, value in saved.items():
        _check_alike(key, now[key], value)
    schedule.load_state_dict(saved)


def _read(optimizer: Optimizer, known: Mapping[int, str]) -> Nested:
    return {
        "kind": type(optimizer).__name__,
        "groups": [
            {
                **{key: value for key, value in group.items() if key not in KERNELS},
                "params": [known[id(p)] for p in group["params"] if id(p) in known],
            }
            for group in optimizer.param_groups
        ],
        "state": {
            known[id(p)]: dict(state) for p, state in optimizer.state.items() if id(p) in known
        },
    }


def _check_kind(optimizer: PyroOptim | Optimizer, saved: Nested) -> None:
    if saved["kind"] != type(optimizer).__name__:
        raise ValueError(
            f"the saved state is that of the optimiser {saved['kind']}, this one is "
            f"{type(optimizer).__name__}"
        )


def _set(optimizer: Optimizer, saved: Nested, names: Mapping[str, Tensor]) -> None:
    _check_kind(optimizer, saved)
    groups = optimizer.param_groups
    ids = {name: id(parameter) for name, parameter in names.items()}
    ours = [[id(p) for p in group["params"]] for group in groups]
    theirs = [[ids[name] for name in group["params"]] for group in saved["groups"]]
    if ours != theirs:
        raise ValueError("the saved state of the optimiser is of other parameters than these")
    for group, values in zip(groups, saved["groups"], strict=True):
        for key in group.keys() - {"params", *KERNELS}:
            _check_alike(key, group[key], values[key])
            group[key] = _placed(group[key], values[key])
    for parameter in [p for p in optimizer.state if isinstance(p, Tensor)]:
        if not any(parameter is names[name] for name in saved["state"]):
            del optimizer.state[parameter]
    for name, values in saved["state"].items():
        _set_parameter(optimizer, names[name], values)


def _set_parameter(optimizer: Optimizer, parameter: Tensor, saved: Nested) -> None:
    state = optimizer.state[parameter]
    for key in state.keys() - saved.keys():
        del state[key]
    for key, value in saved.items():
        if isinstance(value, Tensor) and not isinstance(state.get(key), Tensor):
            # As torch does it: counts of steps stay on the CPU, all else lies beside the parameter.
            value = value.clone() if key == "step" else value.to(parameter, copy=True)
        state[key] = _placed(state.get(key), value)


def _check_alike(key: str, there: Any, value: Any) -> None:
    """Refuse a value of another kind than the one that it replaces: no optimiser would have saved it."""
    numbers, switches = (int, float), (bool, type(None))
    same = type(there) is type(value)
    if isinstance(there, list | tuple) and same:
        same = len(there) == len(value)
        for one, other in zip(there, value, strict=False):
            _check_alike(key, one, other)
    elif not same:
        kinds = (type(there), type(value))
        same = all(k in numbers for k in kinds) or all(k in switches for k in kinds)
    if not same:
        raise ValueError(
            f"the saved state does not fit this optimiser: its {key} is {value!r} where it is {there!r} here"
        )


def _placed(there: Any, value: Any) -> Any:
    """The value; a tensor is written into the one that is there, which others may hold."""
    if not isinstance(there, Tensor) or not isinstance(value, Tensor):
        return value
    if there.shape != value.shape:
        raise ValueError(
            f"a saved tensor of the optimiser has shape {tuple(value.shape)}, here it has "
            f"{tuple(there.shape)}"
        )
    return there.copy_(value)
