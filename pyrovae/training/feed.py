"""What a fit feeds its programs: batches of rows, and the arguments that go with them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from pyrovae.densities.missing import any_missing
from pyrovae.programs import Program, RowGuide, check, first_parameter, modules_of
from pyrovae.sources.dataset import DataSet
from pyrovae.sources.seeds import generator_from
from pyrovae.sources.tables import check_rows, real_numbers
from pyrovae.waist.sites import sites_of

Data = DataSet | Tensor | ArrayLike


@runtime_checkable
class Choosy(Protocol):
    """A model that cannot score every kind of data."""

    def check_data(self, x: Tensor) -> None:
        """Raise a ValueError if rows ``x`` (B, D) are of another kind."""
        ...


@runtime_checkable
class Initialised(Protocol):
    """A model that looks at the data before training begins."""

    def initialise(self, x: Tensor, seed: int = 0) -> Any:
        """Choose parameters to start from, from rows ``x`` (N, D)."""
        ...


@dataclass(frozen=True)
class Feed:
    """Training rows on the device and in the precision of the programs.

    Args:
        stored: (N, D) training rows as stored.
        data: the data set that turns stored rows into x, or None if they are x.
        validation: (M, D) rows to validate on, or None.
        extras: those of ``index`` and ``size`` that both programs take.
        dtype: the precision of the programs.
        incomplete: (N,) which rows have missing values, on the CPU, or None if there are none.
    """

    stored: Tensor
    data: DataSet | None
    validation: Tensor | None
    extras: frozenset[str]
    dtype: torch.dtype
    incomplete: Tensor | None = None

    @property
    def rows(self) -> int:
        """N."""
        return len(self.stored)

    @property
    def device(self) -> torch.device:
        """Where the rows lie."""
        return self.stored.device

    def batch(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """The batch of these rows: x (B, D), its noise drawn now, and the keyword arguments."""
        index = index.to(self.device)
        x = self.stored.index_select(0, index)
        if self.data is not None:
            x = self.data.visit(x, _on(self.device, generator)).to(self.dtype)
        available = {"index": index, "size": self.rows}
        return x, {name: available[name] for name in available if name in self.extras}

    def any_missing(self, index: Tensor) -> bool:
        """Whether a value of these rows is missing."""
        return self.incomplete is not None and bool(self.incomplete[index].any())

    def scale(self, batch_size: int) -> float:
        """What a loss is divided by to give one batch's sum: the N / B of the plate, or 1."""
        return self.rows / batch_size if "size" in self.extras else 1.0


def feed(data: Data, validation: Any, model: Program, guide: Program) -> Feed:
    """Check data and programs against each other, and put the data where the programs are.

    Args:
        data: a `DataSet`, or training rows (N, D).
        validation: rows (M, D) to validate on, for data that is no `DataSet`; or None.
        model: p(x, z).
        guide: q(z | x).

    Raises:
        ValueError: data that is empty, infinite, or of another width than the model's ``features``.
        TypeError: ``validation`` beside a `DataSet`, or a guide that takes ``index`` where the model
            does not.
    """
    own = data[:0] if isinstance(data, Tensor) and data.is_floating_point() else None
    like = first_parameter(model, guide, otherwise=own)
    if isinstance(data, DataSet):
        if validation is not None:
            raise TypeError("a DataSet has validation rows of its own: leave out validation=...")
        stored = data.train.stored
        fixed = data.fixed("validation") if len(data.validation) else None
    else:
        stored = real_numbers("training data", data).to(like.dtype)
        fixed = None if validation is None else real_numbers("validation data", validation)
    check_rows("training data", stored, model)
    if fixed is not None:
        fixed = fixed.to(like)  # first: what single precision does not hold becomes infinite
        check_rows("validation data", fixed, model)
    return Feed(
        stored=stored.to(like.device),
        data=data if isinstance(data, DataSet) else None,
        validation=None if isinstance(guide, RowGuide) else fixed,
        extras=_common_arguments(model, guide),
        dtype=like.dtype,
        incomplete=_incomplete(stored),
    )


def check_together(
    source: Feed, model: Program, guide: Program, batch_size: int
) -> tuple[Tensor, dict[str, Any]]:
    """Run both programs once on the first batch, and refuse what does not fit, before any step.

    Returns:
        What they were called with.

    Raises:
        ValueError: data that the model cannot score, a guide that is not one of this model, or a model that
            takes the number of rows and does not count them.
    """
    first = torch.arange(min(batch_size, source.rows))
    if source.incomplete is not None:
        # Programs that know nothing of missing values are found out here, whatever the first rows hold.
        order = source.incomplete.to(torch.uint8).argsort(descending=True, stable=True)
        first = order[: len(first)]
    x, extras = source.batch(first, generator_from(0))
    if isinstance(model, Choosy):
        model.check_data(x if source.data is not None else source.stored)
    mine, theirs = getattr(model, "latent", None), getattr(guide, "latent", None)
    if isinstance(mine, int) and isinstance(theirs, int) and mine != theirs:
        raise ValueError(
            f"the guide was made for latent={theirs}, the model has latent={mine}: make both alike"
        )
    check(model, guide, x, **extras)
    if "size" in extras and len(x) < source.rows:
        _check_counted(model, x, extras)
    return x, extras


def modules(**programs: Program) -> dict[str, nn.Module]:
    """The modules among programs, by name; a method of a module stands for the module."""
    owners = {name: modules_of(program) for name, program in programs.items()}
    return {name: found[0] for name, found in owners.items() if found}


def place(device: str, *modules: nn.Module) -> None:
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


def _common_arguments(model: Program, guide: Program) -> frozenset[str]:
    takes_model = _takes(model)
    # What takes any argument, as Pyro's own guides do to hand it to the model, asks for none.
    if "index" in _takes(guide, by_name=True) and "index" not in takes_model:
        raise TypeError(
            "the guide takes index=, the row numbers of the batch, and the model does not, so the two "
            "cannot be called alike: write the model as forward(self, x, index=None, size=None)"
        )
    return frozenset(takes_model & _takes(guide))


def _takes(program: Program, by_name: bool = False) -> set[str]:
    call = program.forward if isinstance(program, nn.Module) else program
    parameters = inspect.signature(call).parameters
    if not by_name and any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return {"index", "size"}
    return {"index", "size"} & set(parameters)


def _check_counted(model: Program, x: Tensor, extras: dict[str, Any]) -> None:
    """Refuse a model whose loss would be divided by an N / B that is not in it."""
    sites = sites_of(model, x, **extras)
    if all(bool((torch.as_tensor(site["scale"]) == 1.0).all()) for site in sites.values()):
        raise ValueError(
            f"the model takes size=, the number of rows, and does not use it: a batch of {len(x)} counts as "
            f"all {extras['size']} rows, and its bound would be wrong by their ratio. Write its plate as "
            "pyrovae.programs.data_plate(len(x), index, size), or let it take x alone"
        )


def _incomplete(rows: Tensor) -> Tensor | None:
    if not isinstance(rows, Tensor) or not rows.is_floating_point() or not any_missing(rows):
        return None
    return rows.isnan().any(1).cpu()


def _on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """The generator, or one of the same seed where the rows are."""
    if device.type == "cpu":
        return generator
    return torch.Generator(device).manual_seed(generator.initial_seed())
