"""MNIST: handwritten digits of 28x28 pixels."""

from __future__ import annotations

from pyrovae.sources.download import RemoteFile
from pyrovae.sources.forms import Binarisation, FormName
from pyrovae.sources.idx import IdxDataSet

# Of the decompressed content.
_CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_FILES = {
    name: RemoteFile(
        name,
        "mnist",
        addresses=(
            f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}",
            f"https://storage.googleapis.com/cvdf-datasets/mnist/{name}",
            f"http://yann.lecun.com/exdb/mnist/{name}",
        ),
        checksum=checksum,
    )
    for name, checksum in _CHECKSUMS.items()
}


class MNIST(IdxDataSet):
    """70,000 handwritten digits of 28x28 pixels with 256 grey levels: 60,000 to train, 10,000 to test.

    Downloaded at first use; see `pyrovae.sources.download` for machines without a network.

    Args:
        form: `binary`, `dequantized` or `grey`; see `pyrovae.sources.forms.Form`.
        binarisation: `dynamic`, `static` or `threshold`, for the form `binary` only, where
            `dynamic` is the default.
        validation: how many of the 60,000 training images, the last ones, are kept for validation.
        split_seed: of the noise of validation and test images.

    Raises:
        TypeError: `binarisation` with another form than `binary`; a seed that is no integer.
        ValueError: an unknown form or binarisation; `validation` out of range; a broken file.
        ConnectionError: the files cannot be downloaded.

    Source: Y. LeCun, L. Bottou, Y. Bengio & P. Haffner, Gradient-based learning applied to
    document recognition, 1998. The set-up of Burda, Grosse & Salakhutdinov, Importance weighted
    autoencoders, 2016, is `MNIST(validation=400)`: binarised dynamically, 59,600 to train.

    Example::

        data = MNIST(validation=400)
        data.fixed("test").shape  # (10000, 784)

    >>> sorted(_FILES)[0], _FILES["t10k-images-idx3-ubyte.gz"].folder
    ('t10k-images-idx3-ubyte.gz', 'mnist')
    """

    def __init__(
        self,
        form: FormName = "binary",
        *,
        binarisation: Binarisation | None = None,
        validation: int = 10_000,
        split_seed: int = 0,
    ) -> None:
        super().__init__(
            "mnist",
            _FILES,
            form=form,
            binarisation=binarisation,
            validation=validation,
            split_seed=split_seed,
        )
