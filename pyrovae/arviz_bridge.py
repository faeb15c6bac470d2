"""The one place that knows ArviZ: named arrays in, ArviZ's own container out, under 0.x and 1.x alike.

It needs neither torch nor Pyro, so that it can be used, and tested, where they are not installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Named = tuple[Sequence[str], NDArray[Any]]  # the names of an array's dimensions, and the array

# ArviZ's own groups; what is drawn has the dimensions chain and draw, what is data has not.
GROUPS = (
    "posterior",
    "posterior_predictive",
    "log_likelihood",
    "sample_stats",
    "prior",
    "prior_predictive",
    "observed_data",
)


def inference_data(
    groups: Mapping[str, Mapping[str, Named]],
    *,
    coords: Mapping[str, Sequence[Any]] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Any:
    """Put named arrays into what ArviZ calls its data: an ``InferenceData`` (0.x) or a ``DataTree`` (1.x).

    Args:
        groups: by group, by variable, the names of the dimensions and the array.
        coords: by dimension, its labels; those that are not given are numbered from 0.
        attributes: notes that every group carries, such as the names of the model and the guide.

    Raises:
        ValueError: an unknown group, a drawn variable without chain and draw, or labels of another length.

    Example:
        >>> draws = np.zeros((1, 10, 3))
        >>> data = inference_data({"posterior": {"z": (("chain", "draw", "row"), draws)}})
        >>> data.posterior["z"].dims
        ('chain', 'draw', 'row')
    """
    import arviz
    import xarray

    datasets = {
        name: _dataset(name, variables, dict(coords or {}), dict(attributes or {}))
        for name, variables in groups.items()
    }
    if int(arviz.__version__.partition(".")[0]) < 1:
        return arviz.InferenceData(**datasets)
    return xarray.DataTree.from_dict({f"/{name}": each for name, each in datasets.items()})


def _dataset(
    group: str,
    variables: Mapping[str, Named],
    coords: dict[str, Sequence[Any]],
    attributes: dict[str, Any],
) -> Any:
    import xarray

    if group not in GROUPS:
        raise ValueError(
            f"{group!r} is no group of ArviZ's: the known ones are {', '.join(GROUPS)}"
        )
    sizes: dict[str, int] = {}
    for name, (dims, array) in variables.items():
        drawn = tuple(dims[:2]) == ("chain", "draw")
        if len(dims) != array.ndim or (
            not drawn and group not in ("observed_data", "sample_stats")
        ):
            raise ValueError(
                f"{group}/{name} has the shape {array.shape} and the dimensions {tuple(dims)}: name each "
                "dimension, the first two of what is drawn 'chain' and 'draw'"
            )
        for dim, size in zip(dims, array.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(
                    f"the dimension {dim!r} of {group}/{name} has {size} and {sizes[dim]} entries"
                )
    labels = {dim: np.asarray(coords.get(dim, np.arange(size))) for dim, size in sizes.items()}
    for dim, size in sizes.items():
        if labels[dim].shape != (size,):
            raise ValueError(
                f"the dimension {dim!r} has {size} entries and {labels[dim].size} labels"
            )
    arrays = {name: (tuple(dims), array) for name, (dims, array) in variables.items()}
    return xarray.Dataset(arrays, coords=labels, attrs=attributes)
