"""Caltech-101 silhouettes: outlines of objects, black and white, 28x28 pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pyrovae.sources.dataset import DataSet, Rows
from pyrovae.sources.download import RemoteFile, digest, obtain
from pyrovae.sources.forms import Form
from pyrovae.sources.mat import read_mat, upright

_FILE = RemoteFile(
    "caltech101_silhouettes_28_split1.mat",
    "caltech101-silhouettes",
    addresses=(
        "https://people.cs.umass.edu/~marlin/data/caltech101_silhouettes_28_split1.mat",
        "http://people.cs.umass.edu/~marlin/data/caltech101_silhouettes_28_split1.mat",
    ),
    checksum="sha256:eb6735e8d84b1850fabc5590124aab1755e90c9fd28123585324398405e1e42a",
)
_PARTS = ("train", "val", "test")


class Caltech101Silhouettes(DataSet):
    """8,671 silhouettes of 101 kinds, 28x28 pixels of 0 and 1: 4,100 to train, 2,264, 2,307.

    The pixels are binary already, so nothing is drawn and every visit sees the same.

    Args:
        flip: whether the object is 1 and its surroundings 0; stored is the reverse.
        split_seed: recorded; the parts are those of the file.

    Raises:
        ValueError: a broken file.
        ConnectionError: the file cannot be downloaded.

    Source: B. Marlin, K. Swersky, B. Chen & N. de Freitas, Inductive principles for restricted
    Boltzmann machine learning, 2010.

    Example::

        Caltech101Silhouettes().fixed("test").mean()  # the share of pixels inside an object

    >>> _FILE.name
    'caltech101_silhouettes_28_split1.mat'
    """

    def __init__(self, *, flip: bool = True, split_seed: int = 0) -> None:
        def decode(content: bytes) -> tuple[dict[str, NDArray[np.uint8]], str]:
            shapes = {f"{part}_data": (-1, 784) for part in _PARTS}
            arrays = read_mat(content, shapes | {f"{part}_labels": (-1, 1) for part in _PARTS})
            if any(arrays[name].max() > 1 for name in shapes):
                raise ValueError("pixels other than 0 and 1")
            return arrays, digest("sha256", content)

        arrays, checksum = obtain(_FILE, decode)

        def rows(part: str) -> Rows:
            pixels = upright(arrays[f"{part}_data"], 28, 28).astype(np.uint8)
            labels = arrays[f"{part}_labels"][:, 0].astype(np.int64) - 1
            stored = torch.from_numpy(1 - pixels if flip else pixels)
            return Rows(stored, torch.from_numpy(labels))

        train, validation, test = (rows(part) for part in _PARTS)
        super().__init__(
            "caltech101_silhouettes",
            (28, 28),
            train,
            validation,
            test,
            form=Form("binary", levels=2),
            split_seed=split_seed,
            origin={"flip": flip, "files": {_FILE.name: checksum}},
        )
