"""Encoder and decoder as programs of torch alone, made with `torch.export`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyro
import torch
from torch import Tensor, nn

from pyrovae.densities.missing import known_missing
from pyrovae.programs import GenerativeModel, first_parameter, own_parameters


@runtime_checkable
class ByFamily(Protocol):
    """A guide that turns x into the numbers that a family of distributions is made of."""

    family: Any

    def local_parameters(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, size of the family)."""
        ...


@runtime_checkable
class ByModel(Protocol):
    """A guide that asks its model for the posterior."""

    model: Any


class Encoder(nn.Module):
    """From x to the numbers that q(z | x) is made of.

    Args:
        guide: q(z | x) that looks at x, with one latent site of a family known here.

    Raises:
        TypeError: a guide of another kind.
    """

    def __init__(self, guide: nn.Module) -> None:
        super().__init__()
        if not isinstance(guide, ByFamily) and not isinstance(guide, ByModel):
            raise TypeError(f"{type(guide).__name__} is no guide that an encoder can be made of")
        self.guide = guide

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Loc and scale, loc and scale_tril, or probabilities, for rows ``x`` (B, D)."""
        guide: Any = self.guide
        with own_parameters():
            # Not by running the guide: Pyro's plates take the number of rows for a constant.
            if isinstance(guide, ByFamily):
                return numbers_of(guide.family.distribution(guide.local_parameters(x)))
            return numbers_of(guide.model.posterior(x))


class Decoder(nn.Module):
    """From z to the numbers that p(x | z) is made of.

    Args:
        model: with a method ``decode``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        """The mean of x, and the scale where p(x | z) has one, for ``z`` (B, L).

        The scale is the standard deviation of a normal, and the parameter of that name of others.
        """
        with own_parameters():
            x: Any = self.model.decode(z)  # type: ignore[operator]
        base = _base(x)
        if hasattr(base, "scale"):
            return x.mean, base.scale.expand_as(x.mean)
        return (x.mean,)


def numbers_of(distribution: Any) -> tuple[Tensor, ...]:
    """What a distribution is made of.

    Raises:
        TypeError: a family that is not a normal or categorical one, such as a flow.
    """
    base = _base(distribution)
    for names in (("loc", "scale_tril"), ("loc", "scale"), ("probs",)):
        if all(
            name in base.arg_constraints or hasattr(base, f"_unbroadcasted_{name}")
            for name in names
        ):
            return tuple(getattr(base, name) for name in names)
    raise TypeError(
        f"a {type(base).__name__} cannot be written as a few tensors: only guides of the families diagonal, "
        "full and categorical are exported"
    )


def export(model: nn.Module, guide: nn.Module, folder: Path) -> dict[str, str]:
    """Write ``encoder.pt2`` and ``decoder.pt2``, as far as model and guide allow.

    Args:
        model: p(x, z).
        guide: q(z | x).
        folder: where to.

    Returns:
        What each program returns, by the name of its file; those that cannot be are left out.
    """
    features = getattr(model, "features", None)
    written: dict[str, str] = {}
    if isinstance(features, int) and not hasattr(guide, "for_rows"):
        x = torch.zeros(2, features).to(first_parameter(model))
        with suppress(TypeError):
            _write(Encoder(guide), x, folder / "encoder.pt2", written)
    if isinstance(model, GenerativeModel):
        with torch.random.fork_rng(), own_parameters():
            z = model.prior().sample(torch.Size((2,)))
        _write(Decoder(model), z, folder / "decoder.pt2", written)
    return written


def _write(module: nn.Module, example: Tensor, path: Path, written: dict[str, str]) -> None:
    rows = torch.export.Dim("rows", min=1)
    was_training = module.training
    module.eval()
    try:
        with torch.random.fork_rng(), pyro.validation_enabled(False), known_missing(False):
            outputs = module(example)
            program = torch.export.export(
                module, (example,), dynamic_shapes=({0: rows},), strict=False
            )
        torch.export.save(program, path)
    except (
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
        torch._dynamo.exc.TorchDynamoException,
    ):
        path.unlink(missing_ok=True)
        return
    finally:
        module.train(was_training)
    first, second = ("loc", "scale") if path.stem == "encoder" else ("mean", "scale")
    if len(outputs) == 1:
        written[path.name] = "(probs,)" if path.stem == "encoder" else "(mean,)"
    else:
        tril = outputs[1].ndim > outputs[0].ndim
        written[path.name] = f"{first}, {second}_tril" if tril else f"{first}, {second}"


def _base(distribution: Any) -> Any:
    while hasattr(distribution, "base_dist") and not hasattr(distribution, "transforms"):
        distribution = distribution.base_dist
    return distribution
