"""OMNIGLOT: handwritten characters of fifty alphabets, 28x28 pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pyrovae.sources.dataset import DataSet, Rows
from pyrovae.sources.download import RemoteFile, digest, obtain
from pyrovae.sources.forms import Binarisation, FormName, grey_form
from pyrovae.sources.mat import read_mat, upright
from pyrovae.sources.seeds import generator_from

_FILE = RemoteFile(
    "chardata.mat",
    "omniglot",
    addresses=(
        "https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/chardata.mat",
        "https://raw.githubusercontent.com/yburda/iwae/master/datasets/OMNIGLOT/chardata.mat",
    ),
    # By this name git knows the file in the repository of the paper.
    checksum="git:016a3536ffe5e1d38e42563a18d7a78bfaf643ec",
)
_SHAPES = {"data": (784, -1), "target": (50, -1), "testdata": (784, -1), "testtarget": (50, -1)}


class OMNIGLOT(DataSet):
    """32,415 characters of fifty alphabets, 28x28 pixels from 0 to 1: 8,070 to test.

    The split and the size of Burda, Grosse & Salakhutdinov, Importance weighted autoencoders, 2016,
    who binarise dynamically and keep 1,345 of 24,345 training images for validation. Labels are the
    alphabets. There are no whole grey levels, so the form `dequantized` does not apply.

    Args:
        form: `binary` or `grey`; see `pyrovae.sources.forms.Form`.
        binarisation: `dynamic`, `static` or `threshold`, for the form `binary` only, where
            `dynamic` is the default.
        validation: how many training images, drawn at random, are kept for validation.
        split_seed: which those are, and the noise of validation and test images.
        checksum: `sha256:...` of a file that differs from that of the paper.

    Raises:
        TypeError: `binarisation` with another form than `binary`; the form `dequantized`.
        ValueError: an unknown form or binarisation; `validation` out of range; a broken file.
        ConnectionError: the file cannot be downloaded.

    Source: B. Lake, R. Salakhutdinov & J. Tenenbaum, Human-level concept learning through
    probabilistic program induction, 2015.

    Example::

        OMNIGLOT().train.stored.shape  # (23000, 784)

    >>> _FILE.checksum.partition(":")[0]
    'git'
    """

    def __init__(
        self,
        form: FormName = "binary",
        *,
        binarisation: Binarisation | None = None,
        validation: int = 1345,
        split_seed: int = 0,
        checksum: str | None = None,
    ) -> None:
        made = grey_form(form, binarisation, levels=None)
        order_of, noise = generator_from(split_seed, 0), generator_from(split_seed, 100)
        file = _FILE
        if checksum is not None:
            file = RemoteFile(_FILE.name, _FILE.folder, _FILE.addresses, checksum)
        arrays, found = obtain(file, _decode)

        def rows(images: str, alphabets: str) -> tuple[torch.Tensor, torch.Tensor]:
            grey = upright(arrays[images].T, 28, 28).astype(np.float32)
            labels = torch.from_numpy(arrays[alphabets].argmax(0).astype(np.int64))
            return made.store(torch.from_numpy(grey), noise), labels

        stored, labels = rows("data", "target")
        if not 1 <= validation < len(stored):
            raise ValueError(f"validation must be 1 to {len(stored) - 1} rows, got {validation}")
        order = torch.randperm(len(stored), generator=order_of)
        first, last = order[:-validation], order[-validation:]
        super().__init__(
            "omniglot",
            (28, 28),
            Rows(stored[first], labels[first]),
            Rows(stored[last], labels[last]),
            Rows(*rows("testdata", "testtarget")),
            form=made,
            split_seed=split_seed,
            origin={"files": {_FILE.name: found}},
        )


def _decode(content: bytes) -> tuple[dict[str, NDArray[np.float64]], str]:
    arrays = read_mat(content, _SHAPES)
    for images, alphabets in (("data", "target"), ("testdata", "testtarget")):
        if arrays[images].shape[1] != arrays[alphabets].shape[1]:
            raise ValueError(f"{images!r} and {alphabets!r} differ in their number of columns")
        if arrays[images].min() < 0 or arrays[images].max() > 1:
            raise ValueError(f"{images!r} has pixels outside [0, 1]")
    return arrays, digest("sha256", content)
