"""What must be the same for a fit that is taken up again to go on to the bit, and what differs."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor

import pyrovae
from pyrovae.sources.streamed_rows import StreamedRows
from pyrovae.svi import SVI
from pyrovae.training.feed import Feed
from pyrovae.training.fit_state import FitState

MOST_HASHED = 2**28  # bytes of data; of more, as many rows as that, evenly spread

Setting = dict[str, Any]


def describe(state: FitState, source: Feed, options: Mapping[str, Any]) -> Setting:
    """Everything outside the saved state that the numbers of a fit depend on, as JSON holds it.

    Args:
        state: of the fit.
        source: of the batches.
        options: of the fit.
    """
    svi, device = state.svi, source.device
    on_gpu = device.type == "cuda"
    packages = {"torch": "torch", "pyro": "pyro-ppl", "numpy": "numpy"}
    return {
        "pyrovae": pyrovae.__version__,
        **{name: version(package) for name, package in packages.items()},
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
        "threads": torch.get_num_threads(),
        "precision": str(source.dtype).removeprefix("torch."),
        "precision of products": _products(svi),
        "level": "compiled" if svi.level == "compiled" else "as the programs",
        "clip_norm": svi.clip_norm,
        "schedule": type(state.scheduler).__name__,
        "model": _kind(svi.model),
        "guide": _kind(svi.guide),
        "objective": _kind(svi.loss),
        **{f"objective.{k}": v for k, v in _plain_attributes(svi.loss).items()},
        **_optimizer(svi),
        "data": fingerprint(source.stored),
        "validation data": None if source.validation is None else fingerprint(source.validation),
        **options,
    }


def _products(svi: SVI) -> str:
    wide = svi.precision == "float32"
    return torch.get_float32_matmul_precision() if wide else svi.precision


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """What differs, each in words, by name.

    >>> differences({"threads": 2, "torch": "2.5"}, {"threads": 1, "torch": "2.5"})
    {'threads': 'threads: 2 then, 1 now'}
    """
    keys = list(dict.fromkeys([*then, *now]))
    return {
        key: f"{key}: {then.get(key, 'unknown')} then, {now.get(key, 'unknown')} now"
        for key in keys
        if then.get(key, "unknown") != now.get(key, "unknown")
    }


def fingerprint(rows: Tensor | StreamedRows) -> str:
    """A short text that differs whenever rows of data do.

    >>> fingerprint(torch.zeros(2, 3))
    '2 x 3 float32 9d908ecf'
    """
    if isinstance(rows, StreamedRows):
        return rows.fingerprint()
    step = max(1, -(-rows.numel() * rows.element_size() // MOST_HASHED))
    some = rows[::step].detach().cpu().contiguous()
    content: Any = some.view(torch.uint8).numpy() if some.numel() else b""
    digest = hashlib.sha256(content).hexdigest()
    shape = " x ".join(map(str, rows.shape))
    return f"{shape} {str(rows.dtype).removeprefix('torch.')} {digest[:8]}"


def _kind(program: Any) -> str:
    owner = getattr(program, "__self__", program)
    named = program if isinstance(owner, type) or hasattr(program, "__qualname__") else type(owner)
    return getattr(named, "__qualname__", type(named).__name__)


def _plain_attributes(objective: Any) -> dict[str, Any]:
    """The options of an objective that are numbers or words; infinite ones as words."""
    found = {}
    for name, value in vars(objective).items():
        # Pyro's objectives find out about the nesting as they are first used.
        if (
            name[0] != "_"
            and name != "max_plate_nesting"
            and isinstance(value, bool | int | float | str)
        ):
            finite = not isinstance(value, float) or value - value == 0
            found[name] = value if finite else str(value)
    return found


def _optimizer(svi: SVI) -> Setting:
    made: Any = svi.optim if svi.optimizer is None else svi.optimizer
    defaults = made.pt_optim_args if isinstance(made, PyroOptim) else made.defaults
    found: Setting = {"optimiser": _kind(made)}
    if isinstance(defaults, dict):
        for name, value in defaults.items():
            found[f"optimiser.{name}"] = repr(value)
    return found
