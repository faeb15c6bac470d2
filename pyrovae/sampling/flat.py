"""All continuous latents of a datapoint as one unconstrained vector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.distributions.transforms import Transform

from pyrovae.programs import Program
from pyrovae.waist.joint import Run, Values, draws
from pyrovae.waist.sites import Layout, Site


@dataclass(frozen=True)
class _Slot:
    """How one site lies in the vector: its shape without K and datapoints, and its change of variables."""

    shape: torch.Size
    dtype: torch.dtype
    transform: Transform | None


class Flat:
    """All continuous latents of a datapoint as one unconstrained vector.

    Args:
        sites: the latent sites of one run with particles, from `pyrovae.waist.joint.draws`.
        layout: where the datapoints are.

    Raises:
        ValueError: a discrete site, which has no gradient to follow.
    """

    def __init__(self, sites: dict[str, Site], layout: Layout) -> None:
        self._axes = [layout.nesting + 1 + dim for dim in layout.dims]
        self._front = list(range(1, 1 + len(self._axes)))
        self._rows: torch.Size = torch.Size()
        self.slots: dict[str, _Slot] = {}
        for name, site in sites.items():
            support = site["fn"].support
            if support.is_discrete:
                raise ValueError(
                    f"the latent site {name!r} is discrete, so there is no gradient to follow: mark it "
                    "infer={'enumerate': 'parallel'} in the model to have it summed out, or use "
                    "evidence.ImportanceSampling"
                )
            transform = None if _is_real(support) else biject_to(support)
            value = site["value"] if transform is None else transform.inv(site["value"])
            moved = value.movedim(self._axes, self._front)
            self._rows = moved.shape[1 : 1 + len(self._axes)]
            self.slots[name] = _Slot(
                moved.shape[1 + len(self._axes) :], site["value"].dtype, transform
            )

    @property
    def size(self) -> int:
        """How many numbers a datapoint's latents are."""
        return sum(self._sizes())

    def _sizes(self) -> list[int]:
        return [math.prod(slot.shape) for slot in self.slots.values()]

    def pack(self, values: Values) -> Tensor:
        """Values by site -> (K, B, size)."""
        parts = []
        for name, slot in self.slots.items():
            value = values[name] if slot.transform is None else slot.transform.inv(values[name])
            moved = value.movedim(self._axes, self._front)
            parts.append(moved.reshape(len(moved), math.prod(self._rows), -1))
        return torch.cat(parts, -1)

    def unpack(self, flat: Tensor) -> tuple[Values, Tensor]:
        """(K, B, size) -> values by site, and (K, B) log |d values / d flat|."""
        log_det = flat.new_zeros(flat.shape[:2])
        values = {}
        parts = flat.split(self._sizes(), -1)
        for (name, slot), part in zip(self.slots.items(), parts, strict=True):
            raw = part.reshape(len(flat), *self._rows, *slot.shape)
            # Positions may be in the precision of a density, which is that of the data.
            raw = raw.movedim(self._front, self._axes).to(slot.dtype)
            if slot.transform is None:
                values[name] = raw
                continue
            values[name] = slot.transform(raw)
            jacobian = slot.transform.log_abs_det_jacobian(raw, values[name])
            moved = jacobian.movedim(self._axes, self._front)
            log_det = log_det + moved.reshape(*log_det.shape, -1).sum(-1)
        return values, log_det


def flat_of(
    model: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    layout: Layout,
    *,
    integrated: bool = False,
) -> tuple[Flat, Run]:
    """Run a model to see its latents, and once more to see that their supports stay where they are.

    Args:
        model: p(x, z).
        args: positional arguments of it.
        kwargs: keyword arguments of it.
        layout: where the datapoints are.
        integrated: whether its density is to be integrated over every number of the vector.

    Returns:
        Its latents as one vector, and the first run, with one particle.

    Raises:
        ValueError: a discrete site, one whose support depends on another's draw, or, where it is to be
            integrated, one that is masked.
    """
    run = draws(model, args, kwargs, num_particles=1, layout=layout)
    flat = Flat(run.sites, layout)
    with torch.random.fork_rng():
        again = draws(model, args, kwargs, num_particles=1, layout=layout).sites
    for name, slot in flat.slots.items():
        if integrated and _is_masked(run.sites[name]):
            raise ValueError(
                f"the latent site {name!r} is masked, and where it is, p(x, z) does not depend on it and has "
                "no integral over it: use evidence.ImportanceSampling or evidence.AnnealedImportanceSampling"
            )
        if slot.transform is None:
            continue
        raw = slot.transform.inv(run.values[name])
        if not torch.equal(slot.transform(raw), biject_to(again[name]["fn"].support)(raw)):
            raise ValueError(
                f"the support of the latent site {name!r} depends on the draw of another, so that it cannot "
                "be moved alone: draw it from Uniform(0, 1) and multiply it by its bound, "
                "or use evidence.ImportanceSampling"
            )
    return flat, run


def _is_masked(site: Site) -> bool:
    """Whether some of its log-probabilities are left out, by ``poutine.mask`` or by ``.mask`` of itself."""
    masks, fn = [site["mask"]], site["fn"]
    while fn is not None:
        masks.append(getattr(fn, "_mask", None))
        fn = getattr(fn, "base_dist", None)
    return any(mask is not None and not torch.as_tensor(mask).all() for mask in masks)


def _is_real(support: Any) -> bool:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real
