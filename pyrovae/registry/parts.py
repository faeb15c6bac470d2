"""Parts by name: what a word in a configuration or on the command line stands for.

A folder's ``__all__`` is the list of its public parts; a dotted path such as ``mylab.models.Mine``
works wherever a name does. What a constructor asks for by a name the experiment knows (``features``,
``size``, ``latent``, ``model``) is given to it; the rest are its options.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Kind -> the module whose `__all__` lists its parts.
KINDS = {
    "data": "pyrovae.data",
    "model": "pyrovae.models",
    "guide": "pyrovae.guides",
    "objective": "pyrovae.objectives",
    "evidence": "pyrovae.evidence",
    "optim": "torch.optim",
    "scheduler": "torch.optim.lr_scheduler",
}

# Kind -> arguments that come from the experiment, never from the user.
INJECTED: dict[str, tuple[str, ...]] = {
    "data": (),
    "model": ("features", "size"),
    "guide": ("features", "size", "latent", "model"),
    "objective": (),
    "evidence": (),
    "optim": ("params",),
    "scheduler": ("optimizer",),
}

# What a class named by its path must be derived from; an estimator of the evidence is known by its call.
_BASES = {
    "data": "pyrovae.sources.dataset.DataSet",
    "model": "torch.nn.Module",
    "guide": "torch.nn.Module",
    "objective": "pyro.infer.ELBO",
    "optim": "torch.optim.Optimizer",
    "scheduler": "torch.optim.lr_scheduler.LRScheduler",
}

# Parts of other packages that go by their own name.
_STOCK = {"objective": dict.fromkeys(("Trace_ELBO", "TraceEnum_ELBO", "RenyiELBO"), "pyro.infer")}
_NOT_PARTS = {"Optimizer", "LRScheduler", "ChainedScheduler", "SequentialLR"}


def names(kind: str) -> list[str]:
    """The public names of a kind of part, those of other packages last.

    >>> "Adam" in names("optim")
    True
    """
    module = importlib.import_module(KINDS[kind])
    own = [name for name in module.__all__ if inspect.isclass(getattr(module, name, None))]
    return [name for name in own if name not in _NOT_PARTS] + list(_STOCK.get(kind, ()))


def resolve(kind: str, name: str) -> Callable[..., Any]:
    """The class that a public name (in any case) or a dotted path stands for.

    Raises:
        ValueError: there is none, or it is a class of another kind; the sentence lists the known names.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"The {kind} must be a name or a dotted path; got {name!r}.")
    if is_path(name):
        return _import(kind, name.replace(":", "."))
    known = names(kind)
    found = name if name in known else {n.lower(): n for n in reversed(known)}.get(name.lower())
    if found is None:
        raise ValueError(
            f"Unknown {kind} {name!r}{did_you_mean(name, known)} Known: {', '.join(known)}; "
            f"or give the dotted path of a class of your own, such as mylab.{kind}s.Mine."
        )
    home = _STOCK.get(kind, {}).get(found, KINDS[kind])
    part: Callable[..., Any] = getattr(importlib.import_module(home), found)
    return part


def is_path(name: str) -> bool:
    """Whether a part is named by a dotted path, as those of one's own are.

    >>> is_path("VAE"), is_path("mylab.models.Mine")
    (False, True)
    """
    return "." in name or ":" in name


def public_name(kind: str, name: str) -> str:
    """The name as it is written in ``__all__``; a dotted path of a part stays as it is.

    >>> public_name("optim", "adam")
    'Adam'
    """
    return name if is_path(name) else resolve(kind, name).__name__


def options(kind: str, name: str) -> dict[str, inspect.Parameter]:
    """The parameters of a part that a user may set, by name, in the order of its signature."""
    parameters = inspect.signature(resolve(kind, name)).parameters
    return {
        key: parameter
        for key, parameter in parameters.items()
        if key not in INJECTED[kind]
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def complete(kind: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options given, and the defaults of those that were not.

    Raises:
        TypeError: an option that the part does not have, or a required one that is missing.
    """
    known = options(kind, name)
    open_ended = any(
        p.kind is p.VAR_KEYWORD for p in inspect.signature(resolve(kind, name)).parameters.values()
    )
    for key in given:
        if key not in known and not open_ended:
            raise TypeError(unknown_option(kind, name, key, known))
    missing = [k for k, p in known.items() if p.default is p.empty and k not in given]
    if missing:
        raise TypeError(f"The {kind} {name} needs the option {missing[0]!r}, which was not given.")
    return {k: p.default for k, p in known.items() if p.default is not p.empty} | dict(given)


def build(kind: str, name: str, given: Mapping[str, Any], **available: Any) -> Any:
    """Make the part from its options and from what the experiment has for it.

    Args:
        kind: one of `KINDS`.
        name: a public name or a dotted path.
        given: the user's options.
        **available: values for those of `INJECTED` that can be had; the part gets those it asks for.

    Raises:
        TypeError: an unknown or missing option, or the part needs what is not available.
        ValueError: an unknown name, or an option with a value that the part refuses.
    """
    part = resolve(kind, name)
    chosen = complete(kind, name, given)
    wanted = inspect.signature(part).parameters
    for key, parameter in wanted.items():
        if key in INJECTED[kind] and key not in available and parameter.default is parameter.empty:
            raise TypeError(
                f"The {kind} {name} needs `{key}`, which this combination does not have: "
                f"choose another {kind}, or a model with the attribute `{key}`."
            )
    return part(**{k: v for k, v in available.items() if k in wanted}, **chosen)


def unknown_option(kind: str, name: str, key: str, known: Iterable[str]) -> str:
    """The sentence that refuses an option and lists the known ones."""
    known = list(known)
    if key in INJECTED[kind]:
        return (
            f"The {key!r} of the {kind} {name} follows from the data and the model: leave it out."
        )
    listed = ", ".join(known) or "none"
    return (
        f"The {kind} {name} has no option {key!r}{did_you_mean(key, known)} Its options: {listed}."
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: a guess, if one is near.

    >>> did_you_mean("IWEA", ["ELBO", "IWAE"])
    '; did you mean IWAE?'
    >>> did_you_mean("zebra", ["ELBO", "IWAE"])
    '.'
    """
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.55)
    return f"; did you mean {lower[near[0]]}?" if near else "."


def _import(kind: str, path: str) -> Callable[..., Any]:
    module_name, _, attribute = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"The {kind} {path!r} cannot be imported ({error}): give the dotted path of a class whose "
            "module Python finds (set PYTHONPATH if it is not installed)."
        ) from error
    part: Any = getattr(module, attribute, None)
    if not inspect.isclass(part):
        raise ValueError(f"The module {module_name} has no class {attribute!r}.")
    # A configuration may come from a stranger: what it names is called, so it must be of its kind.
    base_module, _, base = _BASES.get(kind, "").rpartition(".")
    if base and not issubclass(part, getattr(importlib.import_module(base_module), base)):
        raise ValueError(f"{path} is not a {kind}: its class must be derived from {_BASES[kind]}.")
    if not base and not _is_estimator(part):
        raise ValueError(
            f"{path} is not an estimator: it must be called with model, guide, x and seed, as those of "
            "pyrovae.evidence are."
        )
    found: Callable[..., Any] = part
    return found


def _is_estimator(part: type) -> bool:
    """Whether its instances are called as ``estimate(model, guide, x, seed=...)``."""
    takes = inspect.signature(part.__call__).parameters
    any_name = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    return "model" in takes and ("seed" in takes or any_name)
