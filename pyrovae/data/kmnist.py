"""Kuzushiji-MNIST: cursive Japanese characters of 28x28 pixels."""

from __future__ import annotations

from collections.abc import Mapping

from pyrovae.sources.download import RemoteFile
from pyrovae.sources.forms import Binarisation, FormName
from pyrovae.sources.idx import IdxDataSet

# Of the content, by which the data archive of Mila names the files it unpacked from these, and of the
# compressed files, as torchvision publishes them. The images are those of February 2019, which took the
# place of the first, among them black and doubled ones.
_CHECKSUMS = {
    "train-images-idx3-ubyte.gz": (
        "md5:92be26ec9822e900ac425d0a0aa84ced",
        "md5:bdb82020997e1d708af4cf47b453dcf7",
    ),
    "train-labels-idx1-ubyte.gz": (
        "md5:949e75301f8813e0dc5800dcc320fc52",
        "md5:e144d726b3acfaa3e44228e80efcd344",
    ),
    "t10k-images-idx3-ubyte.gz": (
        "md5:bf305b8cd328700fbc17f5acbc2856d2",
        "md5:5c965bf0a639b31b8f53240b1b52f4d7",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "md5:9f55f451c0988b028eccdf7d5cc265ab",
        "md5:7320c461ea6c1c855c0b718fb2a4b134",
    ),
}
_FILES = {
    name: RemoteFile(
        name,
        "kmnist",
        addresses=(
            f"https://codh.rois.ac.jp/kmnist/dataset/kmnist/{name}",
            f"http://codh.rois.ac.jp/kmnist/dataset/kmnist/{name}",
        ),
        checksum=content,
        served_checksum=served,
    )
    for name, (content, served) in _CHECKSUMS.items()
}


class KMNIST(IdxDataSet):
    """70,000 cursive Japanese characters of 28x28 pixels with 256 grey levels, ten classes.

    Downloaded at first use; see `pyrovae.sources.download` for machines without a network.

    Args:
        form: `binary`, `dequantized` or `grey`; see `pyrovae.sources.forms.Form`.
        binarisation: `dynamic`, `static` or `threshold`, for the form `binary` only, where
            `dynamic` is the default.
        validation: how many of the 60,000 training images, the last ones, are kept for validation.
        split_seed: of the noise of validation and test images.
        checksums: `sha256:...` of the decompressed content by file name, of files that differ.

    Raises:
        TypeError: `binarisation` with another form than `binary`; a seed that is no integer.
        ValueError: an unknown form or binarisation; `validation` out of range; a broken file.
        ConnectionError: the files cannot be downloaded.

    Source: T. Clanuwat, M. Bober-Irizar, A. Kitamoto, A. Lamb, K. Yamamoto & D. Ha, Deep learning
    for classical Japanese literature, 2018.

    Example::

        data = KMNIST("dequantized")
        data.fixed("test").shape  # (10000, 784)

    >>> sorted(_FILES)[0], _FILES["t10k-images-idx3-ubyte.gz"].folder
    ('t10k-images-idx3-ubyte.gz', 'kmnist')
    """

    def __init__(
        self,
        form: FormName = "dequantized",
        *,
        binarisation: Binarisation | None = None,
        validation: int = 10_000,
        split_seed: int = 0,
        checksums: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            "kmnist",
            _FILES,
            form=form,
            binarisation=binarisation,
            validation=validation,
            split_seed=split_seed,
            checksums=checksums,
        )
