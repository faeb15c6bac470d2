"""Variables of a MATLAB file, with the shapes they must have."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_mat(content: bytes, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    """Named arrays of numbers from a MATLAB file of version 5.

    Args:
        content: the whole file.
        shapes: name -> shape; -1 where any size will do.

    Raises:
        ValueError: it is no such file, a name is missing, or an array has another shape, is not
            made of numbers, or holds what is not finite.

    >>> import scipy.io
    >>> buffer = io.BytesIO()
    >>> scipy.io.savemat(buffer, {"a": np.eye(2)})
    >>> read_mat(buffer.getvalue(), {"a": (2, -1)})["a"].shape
    (2, 2)
    """
    # Here, so that to import pyrovae.data does not wait for SciPy.
    import scipy.io

    try:
        found = scipy.io.loadmat(io.BytesIO(content), variable_names=list(shapes))
    except Exception as error:  # a broken file raises whatever its first odd byte leads to
        raise ValueError(f"not a whole MATLAB file ({error})") from error
    for name, shape in shapes.items():
        if name not in found:
            raise ValueError(f"it has no variable {name!r}")
        array = np.asarray(found[name])
        if array.ndim != len(shape) or any(
            want not in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        ):
            raise ValueError(f"the shape of {name!r} is {array.shape}, expected {shape}")
        if array.dtype.kind not in "uif" or not np.isfinite(array).all():
            raise ValueError(f"{name!r} holds something else than finite numbers")
    return {name: np.asarray(found[name]) for name in shapes}


def upright(columns: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Images (n, height * width) stored column by column, as MATLAB does, stored row by row."""
    images = columns.reshape(len(columns), width, height).transpose(0, 2, 1)
    return np.ascontiguousarray(images.reshape(len(columns), -1))
