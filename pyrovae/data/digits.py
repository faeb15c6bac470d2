"""The 8x8 digits that ship with scikit-learn."""

from __future__ import annotations

import numpy as np
import torch

from pyrovae.sources.dataset import DataSet, Rows
from pyrovae.sources.forms import Binarisation, FormName, grey_form
from pyrovae.sources.seeds import generator_from

_SPLIT = (1200, 200, 397)


class Digits(DataSet):
    """1,797 handwritten digits of 8x8 pixels with 17 grey levels, 0 to 16; no download.

    1,200 rows to train on, 200 to validate, 397 to test. A dequantized density p on [0, 1]^64
    gives log p(x) nats per image; it belongs to about log p(x) - 64 log 17 nats for the grey levels
    themselves.

    Args:
        form: `dequantized`, `binary` or `grey`; see `pyrovae.sources.forms.Form`.
        binarisation: `dynamic`, `static` or `threshold`, for the form `binary` only, where
            `dynamic` is the default.
        split_seed: which row is in which part, and the noise of validation and test rows.

    Raises:
        TypeError: `binarisation` with another form than `binary`; a seed that is no integer.
        ValueError: an unknown form or binarisation.

    Source: E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits, 1998, its test set.

    >>> data = Digits()
    >>> data.fixed("test").shape
    torch.Size([397, 64])
    >>> Digits("binary", binarisation="threshold").describe()["binarisation"]
    'threshold'
    """

    def __init__(
        self,
        form: FormName = "dequantized",
        *,
        binarisation: Binarisation | None = None,
        split_seed: int = 0,
    ) -> None:
        # Here, so that to import pyrovae.data does not wait for scikit-learn.
        from sklearn.datasets import load_digits

        made = grey_form(form, binarisation, levels=17)
        images, classes = load_digits(return_X_y=True)
        grey = torch.from_numpy(images.astype(np.uint8))
        labels = torch.from_numpy(classes.astype(np.int64))
        grey = made.store(grey, generator_from(split_seed, 100))
        order = torch.randperm(len(grey), generator=generator_from(split_seed, 0))
        train, validation, test = (Rows(grey[rows], labels[rows]) for rows in order.split(_SPLIT))
        super().__init__(
            "digits", (8, 8), train, validation, test, form=made, split_seed=split_seed
        )
