"""Data sets in the format of MNIST: four idx files of 28x28 images and ten classes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from pyrovae.sources.dataset import DataSet, Rows
from pyrovae.sources.download import RemoteFile, digest, obtain
from pyrovae.sources.forms import Binarisation, FormName, grey_form
from pyrovae.sources.seeds import generator_from

NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def read_idx(content: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The array of an idx file of unsigned bytes.

    Args:
        content: the whole file, decompressed.
        shape: what it must be; -1 where any size will do.

    Raises:
        ValueError: it is no such file, or has another shape or length than it says.

    >>> read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), (-1,))
    array([7, 9], dtype=uint8)
    """
    head = 4 + 4 * len(shape)
    if len(content) < head or content[:4] != bytes([0, 0, 8, len(shape)]):
        raise ValueError(f"not an idx file of unsigned bytes with {len(shape)} dimensions")
    found = struct.unpack(f">{len(shape)}I", content[4:head])
    if any(want not in (-1, have) for want, have in zip(shape, found, strict=True)):
        raise ValueError(f"its shape is {found}, expected {shape}")
    if len(content) != head + int(np.prod(found)):
        raise ValueError(f"{len(content) - head} values where its header says {np.prod(found)}")
    return np.frombuffer(content, np.uint8, offset=head).reshape(found)


def read_labels(content: bytes) -> NDArray[np.uint8]:
    """The labels of an idx file, 0 to 9; errors as `read_idx`."""
    labels = read_idx(content, (-1,))
    if labels.size and labels.max() > 9:
        raise ValueError(f"labels go up to {labels.max()}, expected 0 to 9")
    return labels


class IdxDataSet(DataSet):
    """A data set of four idx files, the base of MNIST and its relatives.

    Args:
        name: of the data set.
        files: by the names of `NAMES`.
        form, binarisation: see `pyrovae.sources.forms.Form`.
        validation: how many of the last training rows are for validation.
        split_seed: of the noise of validation and test rows.
        checksums: `algorithm:hexadecimal` of the content, by file name, in place of those stored.

    Raises:
        ValueError: `validation` leaves no rows to train on, or is below 1; a broken file.
    """

    def __init__(
        self,
        name: str,
        files: Mapping[str, RemoteFile],
        *,
        form: FormName,
        binarisation: Binarisation | None,
        validation: int,
        split_seed: int,
        checksums: Mapping[str, str] | None = None,
    ) -> None:
        made = grey_form(form, binarisation, levels=256)
        unknown = sorted(set(checksums or ()) - set(files))
        if unknown:
            raise ValueError(f"{name} has no file {unknown[0]!r}; known are {', '.join(files)}")
        pinned = {
            n: replace(files[n], checksum=c, served_checksum=None)
            for n, c in (checksums or {}).items()
        }
        files = {**files, **pinned}
        generator = generator_from(split_seed, 100)
        origin: dict[str, str] = {}
        (stored, labels), test = (_pair(files, pair, origin) for pair in (NAMES[:2], NAMES[2:]))
        if not 1 <= validation < len(stored):
            raise ValueError(f"validation must be 1 to {len(stored) - 1} rows, got {validation}")
        stored = made.store(stored, generator)
        first = len(stored) - validation
        super().__init__(
            name,
            (28, 28),
            Rows(stored[:first], labels[:first]),
            Rows(stored[first:], labels[first:]),
            Rows(made.store(test[0], generator), test[1]),
            form=made,
            split_seed=split_seed,
            origin={"files": origin},
        )


def _pair(
    files: Mapping[str, RemoteFile], names: tuple[str, ...], origin: dict[str, str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of a pair of files; what they contained is noted in `origin`."""

    def read(name: str) -> NDArray[np.uint8]:
        def decode(content: bytes) -> NDArray[np.uint8]:
            images = "images" in name
            values = read_idx(content, (-1, 28, 28)) if images else read_labels(content)
            origin[name] = digest("sha256", content)
            return values

        return obtain(files[name], decode)

    images, labels = (read(name) for name in names)
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images in {names[0]}, {len(labels)} labels in {names[1]}")
    grey = torch.from_numpy(images.reshape(len(images), -1).copy())
    return grey, torch.from_numpy(labels.astype(np.int64))
