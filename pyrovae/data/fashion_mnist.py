"""Fashion-MNIST: articles of clothing of 28x28 pixels."""

from __future__ import annotations

from collections.abc import Mapping

from pyrovae.sources.download import RemoteFile
from pyrovae.sources.forms import Binarisation, FormName
from pyrovae.sources.idx import IdxDataSet

# Of the content, as several who unpacked the files publish them, those of the labels computed anew; and of
# the compressed files, as their authors publish them.
_CHECKSUMS = {
    "train-images-idx3-ubyte.gz": (
        "md5:f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    ),
    "train-labels-idx1-ubyte.gz": (
        "md5:9018921c3c673c538a1fc5bad174d6f9",
        "md5:25c81989df183df01b3e8a0aad5dffbe",
    ),
    "t10k-images-idx3-ubyte.gz": (
        "md5:8181f5470baa50b63fa0f6fddb340f0a",
        "md5:bef4ecab320f06d8554ea6380940ec79",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "md5:15d484375f8d13e6eb1aabb0c3f46965",
        "md5:bb300cfdad3c16e7a12a480ee83cd310",
    ),
}
_FILES = {
    name: RemoteFile(
        name,
        "fashion-mnist",
        addresses=(
            f"https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/{name}",
            f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{name}",
        ),
        checksum=content,
        served_checksum=served,
    )
    for name, (content, served) in _CHECKSUMS.items()
}


class FashionMNIST(IdxDataSet):
    """70,000 articles of clothing of 28x28 pixels with 256 grey levels, ten kinds.

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

    Source: H. Xiao, K. Rasul & R. Vollgraf, Fashion-MNIST: a novel image data set for
    benchmarking machine learning algorithms, 2017.

    Example::

        data = FashionMNIST("dequantized")
        data.fixed("test").shape  # (10000, 784)

    >>> sorted(_FILES)[0], _FILES["t10k-images-idx3-ubyte.gz"].folder
    ('t10k-images-idx3-ubyte.gz', 'fashion-mnist')
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
            "fashion_mnist",
            _FILES,
            form=form,
            binarisation=binarisation,
            validation=validation,
            split_seed=split_seed,
            checksums=checksums,
        )
