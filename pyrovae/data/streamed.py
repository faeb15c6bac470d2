"""Data of one's own that is larger than memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pyrovae.registry.plain import whole_numbers
from pyrovae.sources.dataset import DataSet, Part, Rows, shape_of_row
from pyrovae.sources.fingerprints import checked_fingerprint
from pyrovae.sources.forms import Binarisation, Form, FormName
from pyrovae.sources.row_files import open_rows
from pyrovae.sources.seeds import generator_from
from pyrovae.sources.streamed_rows import StreamedRows

INITIAL = 10_000


class Streamed(DataSet):
    """Rows of files that stay on the disk; validation and test rows are drawn from them and kept in memory.

    Files are cut into blocks. In a pass, blocks come in random order, and rows at random among as many
    blocks as ``memory`` holds; the order depends on the seed and the pass alone, so a fit that is taken
    up again sees the rows it would have seen. Values are checked as they are read; missing ones (NaN) are
    refused.

    Args:
        source: a .npy file, a folder of .npy files of rows of one width, a file of numbers without a
            header, or a memory-mapped array; see `pyrovae.sources.row_files.open_rows`.
        form: `real`, or for images `binary`, `dequantized` or `grey`; see `pyrovae.sources.forms.Form`.
        binarisation: `dynamic` or `threshold`, for the form `binary` of grey values.
        levels: number of grey levels of whole numbers 0 ... levels - 1; None where values lie in [0, 1].
        validation: rows to validate on.
        test: rows to test on.
        split_seed: which rows these are, and their noise.
        shape: of one row, such as (28, 28); needed for a file without a header.
        dtype: of the numbers of a file without a header, such as ``uint8``.
        memory: megabytes of rows in memory at a time, among which a pass is in random order.
        scan: look at every value before anything else, in place of as it is read.
        name: for tables.
        fingerprint: that the file or folder must have; a run's configuration holds that of the data it
            was made with. See `pyrovae.sources.fingerprints.fingerprint`.

    Raises:
        FileNotFoundError: nothing at that path.
        TypeError: values that are not numbers; an option that does not apply.
        ValueError: a file that is cut short, files that differ, no rows, or fewer than are held out; values
            that the form does not have; another fingerprint.
        OSError: a file cannot be read, or was written to since.

    >>> import numpy as np, tempfile, pathlib
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "rows.npy"
    >>> np.save(path, np.arange(200.0).reshape(100, 2))
    >>> data = Streamed(path, validation=10, test=10)
    >>> len(data.train), data.train.stored[torch.tensor([0, 79])].shape
    (80, torch.Size([2, 2]))
    >>> folder.cleanup()
    """

    def __init__(
        self,
        source: Any,
        form: FormName = "real",
        *,
        binarisation: Binarisation | None = None,
        levels: int | None = None,
        validation: int = 1000,
        test: int = 1000,
        split_seed: int = 0,
        shape: Sequence[int] | None = None,
        dtype: str | None = None,
        memory: int = 256,
        scan: bool = False,
        name: str = "streamed",
        fingerprint: str | None = None,
    ) -> None:
        content = checked_fingerprint(source, fingerprint)
        made = Form.of_ones_own(form, levels, binarisation)
        if binarisation == "static":
            raise TypeError(
                "a static binarisation is drawn once for all rows, which are not in memory: say dynamic or "
                "threshold"
            )
        if memory < 1:
            raise ValueError(f"memory must be at least 1 megabyte, got {memory}")
        files = open_rows(source, shape=shape, dtype=dtype)
        row = shape_of_row(shape, files.shape)
        held = _some(len(files), validation, test, split_seed)
        train = StreamedRows(files, held.sort().values, made, memory=memory * 2**20)
        if scan:
            train.check_all()
        super().__init__(
            name,
            row,
            # A fit asks it for its shape and for rows by number, as it asks a tensor.
            Rows(cast(Tensor, train)),
            Rows(_pick(train, held[:validation])),
            Rows(_pick(train, held[validation:])),
            form=made,
            split_seed=split_seed,
            origin={"source": str(files.parts[0].path), "files": len(files.parts), **content},
        )

    def fixed(self, name: Part) -> Tensor:
        """What a model sees of a part, (n, D), the same at every call; of the training rows, of some only."""
        if name != "train":
            return super().fixed(name)
        rows = cast(StreamedRows, self.train.stored)
        some = rows[rows.order(self.split_seed, 0)[:INITIAL]]
        return self.form.visit(some, generator_from(self.split_seed, 1))


def _some(rows: int, validation: int, test: int, seed: int) -> Tensor:
    """Different numbers of rows to hold out, at random, without a list of all rows."""
    whole_numbers(validation=validation, test=test)
    count = validation + test
    if count >= rows:
        raise ValueError(
            f"validation={validation} and test={test} must leave some of the {rows} rows to train on"
        )
    generator = generator_from(seed, 0)
    found = torch.empty(0, dtype=torch.int64)
    while len(found) < count:
        drawn = torch.randint(rows, (count,), generator=generator)
        found = torch.cat([found, drawn]).unique()
    return found[torch.randperm(len(found), generator=generator)[:count]]


def _pick(rows: StreamedRows, numbers: Tensor) -> Tensor:
    """Rows by their numbers in the files, each read alone."""
    return torch.cat([rows.stored(number, number + 1) for number in numbers.tolist()])
