"""Latent-variable models and inference algorithms in Pyro: fitted, compared and checked.

The package's names are loaded at first use, so that ``import pyrovae`` (and with it the command
line and the report, which need no tensors) does not wait for torch.

>>> import pyrovae
>>> pyrovae.__version__.count(".")
2
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyrovae.data as data
    import pyrovae.diagnostics as diagnostics
    import pyrovae.evidence as evidence
    import pyrovae.guides as guides
    import pyrovae.models as models
    import pyrovae.objectives as objectives
    from pyrovae.fit import fit
    from pyrovae.log_weights import log_weights
    from pyrovae.svi import SVI

__version__ = "0.1.0"

__all__ = [
    "SVI",
    "data",
    "diagnostics",
    "evidence",
    "fit",
    "guides",
    "log_weights",
    "models",
    "objectives",
]

# Public name -> the module that defines it. What is not listed here is a submodule.
_DEFINED_IN = {"SVI": "svi", "fit": "fit", "log_weights": "log_weights"}


def __getattr__(name: str) -> Any:
    if name in _DEFINED_IN:
        value = getattr(importlib.import_module(f"pyrovae.{_DEFINED_IN[name]}"), name)
    elif name in __all__:
        value = importlib.import_module(f"pyrovae.{name}")
    else:
        known = ", ".join(__all__)
        raise AttributeError(f"module 'pyrovae' has no attribute {name!r}; it offers {known}")
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps ``pyrovae.fit`` and ``pyrovae.log_weights`` functions.

    Importing a submodule binds it on its package under its own name, which would hide the
    function of the same name that the submodule defines.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and name in _DEFINED_IN:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
