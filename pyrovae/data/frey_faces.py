"""Frey faces: frames of a film of one face, 28x20 pixels."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray

from pyrovae.sources.dataset import DataSet, Rows
from pyrovae.sources.download import RemoteFile, digest, obtain
from pyrovae.sources.forms import FormName, grey_form
from pyrovae.sources.mat import read_mat
from pyrovae.sources.seeds import generator_from

_NAME = "frey_rawface.mat"
# Of freyfaces.npy, the same frames as a NumPy array. For frey_rawface.mat none is published; it is
# checked for the name, shape and values of its array unless `checksum` says more.
_CHECKSUM_OF_ARRAY = "sha256:13a0cd943fe56c8a2f4c05bc670b097ae2fda4f9d3a0d5215277712ac02f12e6"
_ADDRESSES = (
    "https://cs.nyu.edu/~roweis/data/frey_rawface.mat",
    "http://www.cs.nyu.edu/~roweis/data/frey_rawface.mat",
)


class FreyFaces(DataSet):
    """1,965 frames of a film of Brendan Frey's face, 28x20 pixels with 256 grey levels.

    1,565 frames drawn at random to train, 200 to validate, 200 to test.

    Args:
        form: `dequantized` or `grey`; see `pyrovae.sources.forms.Form`.
        split_seed: which frame is in which part, and the noise of validation and test frames.
        checksum: `sha256:...` of the file, to pin what is checked.

    Raises:
        ValueError: an unknown form, or `binary`, which faces are not; a broken file.
        ConnectionError: the file cannot be downloaded.

    Source: S. Roweis, L. Saul & G. Hinton, Global coordination of local linear models, 2002.

    Example::

        FreyFaces().shape  # (28, 20)

    >>> _CHECKSUM_OF_ARRAY.partition(":")[0]
    'sha256'
    """

    def __init__(
        self, form: FormName = "dequantized", *, split_seed: int = 0, checksum: str | None = None
    ) -> None:
        if form == "binary":
            raise ValueError("the faces come as 'dequantized' or 'grey', not as 'binary'")
        made = grey_form(form, None, levels=256)
        file = RemoteFile(
            _NAME, "frey-faces", _ADDRESSES, checksum=checksum, aliases=("freyfaces.npy",)
        )

        def decode(content: bytes) -> tuple[NDArray[np.uint8], str]:
            return _frames(content, any_array=checksum is not None), digest("sha256", content)

        frames, found = obtain(file, decode)
        order = torch.randperm(len(frames), generator=generator_from(split_seed, 0))
        grey = torch.from_numpy(frames)[order]
        super().__init__(
            "frey_faces",
            (28, 20),
            Rows(grey[:-400]),
            Rows(grey[-400:-200]),
            Rows(grey[-200:]),
            form=made,
            split_seed=split_seed,
            origin={"files": {_NAME: found}},
        )


def _frames(content: bytes, *, any_array: bool) -> NDArray[np.uint8]:
    if not content.startswith(b"\x93NUMPY"):
        frames = read_mat(content, {"ff": (560, 1965)})["ff"].T
    elif any_array or digest("sha256", content) == _CHECKSUM_OF_ARRAY:
        frames = np.load(io.BytesIO(content), allow_pickle=False)
    else:
        raise ValueError(f"broken or changed, its checksum is not {_CHECKSUM_OF_ARRAY}")
    if frames.shape != (1965, 560) or frames.dtype != np.uint8:
        raise ValueError(f"{frames.shape} values of {frames.dtype}, expected (1965, 560) of uint8")
    return np.ascontiguousarray(frames)
