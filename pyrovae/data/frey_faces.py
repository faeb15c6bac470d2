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
_AS_ARRAY = "freyfaces.npy"
# Of the frames, (1965, 560) bytes row by row: a MATLAB file and an array of NumPy hold the same.
_CHECKSUM = "sha256:2438ba4f0d2a6bd8bac43de756141eaa33c8d248dd613d464bdb1210d9b7af78"
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
        checksum: `sha256:...` of a file whose frames differ from those published.

    Raises:
        ValueError: an unknown form, or `binary`, which faces are not; a broken file.
        ConnectionError: the file cannot be downloaded.

    Source: S. Roweis, L. Saul & G. Hinton, Global coordination of local linear models, 2002.

    Example::

        FreyFaces().shape  # (28, 20)

    >>> _CHECKSUM.partition(":")[0]
    'sha256'
    """

    def __init__(
        self, form: FormName = "dequantized", *, split_seed: int = 0, checksum: str | None = None
    ) -> None:
        if form == "binary":
            raise ValueError("the faces come as 'dequantized' or 'grey', not as 'binary'")
        made = grey_form(form, None, levels=256)
        file = RemoteFile(_NAME, "frey-faces", _ADDRESSES, checksum=checksum, aliases=(_AS_ARRAY,))

        def decode(content: bytes) -> tuple[NDArray[np.uint8], dict[str, str]]:
            name = _AS_ARRAY if _is_array(content) else _NAME
            frames = _frames(content, None if checksum is not None else _CHECKSUM)
            return frames, {name: digest("sha256", content)}

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
            origin={"files": found},
        )


def _is_array(content: bytes) -> bool:
    return content.startswith(b"\x93NUMPY")


def _frames(content: bytes, checksum: str | None) -> NDArray[np.uint8]:
    if _is_array(content):
        try:
            frames = np.load(io.BytesIO(content), allow_pickle=False)
        except Exception as error:  # a broken file raises whatever its first odd byte leads to
            raise ValueError(f"no whole array ({error})") from error
    else:
        frames = read_mat(content, {"ff": (560, 1965)})["ff"].T
    if frames.shape != (1965, 560) or frames.dtype != np.uint8:
        raise ValueError(f"{frames.shape} values of {frames.dtype}, expected (1965, 560) of uint8")
    frames = np.ascontiguousarray(frames)
    if checksum is not None and (found := digest("sha256", frames.tobytes())) != checksum:
        raise ValueError(
            f"broken or changed, the checksum of its frames is {found} instead of {checksum}"
        )
    return frames
