"""A binary guide for missing pixels, with a number for each."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae.programs import data_plate, table_rows
from pyrovae.registry.plain import whole_numbers


class MissingPixels(PyroModule):
    r"""A binary guide for missing pixels, with one number for each missing pixel of each image.

    .. math:: q(y_n \mid x_n) = \prod_{d \text{ missing}} \text{Bernoulli}(y_{nd};\, \sigma(\lambda_{nd}))

    Its draws are 0 or 1 and carry no gradient, so that it trains by the score function.

    Args:
        size: N, images in the data set.
        features: D, pixels of an image; the numbers of pixels that are not missing never move.

    Raises:
        ValueError: a size below 1, or a batch that is not the whole data set and comes without ``index``.

    Source: Simple statistical gradient-following algorithms for connectionist reinforcement learning
    (Williams, 1992); Black box variational inference (Ranganath, Gerrish & Blei, 2014).

    How to read it: `probabilities` is exact where the missing pixels of an image are independent given
    those observed, and the best independent answer otherwise.

    Example:
        >>> guide = MissingPixels(size=10, features=4)
        >>> x = torch.tensor([[0.0, 1.0, torch.nan, torch.nan]])
        >>> guide.probabilities(x, index=torch.tensor([7]))
        tensor([[0.0000, 1.0000, 0.5000, 0.5000]], grad_fn=<WhereBackward0>)
    """

    # Parameters whose rows belong to the rows of the data set: a step need not touch the others.
    row_tables: tuple[str, ...] = ("table",)

    def __init__(self, size: int, features: int) -> None:
        super().__init__()
        whole_numbers(size=size, features=features)
        self.size = size
        self.features = features
        self.table = nn.Parameter(torch.zeros(size, features))

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw the missing pixels of the rows ``index`` of the data set: (..., B, D)."""
        logits = table_rows(self.table, self.size, x, index)
        with data_plate(len(x), index, size):
            pixels: Tensor = pyro.sample(
                "pixels", dist.Bernoulli(logits=logits).mask(x.isnan()).to_event(1)
            )
        return pixels

    def probabilities(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """The images ``x`` (B, D) with q(pixel = 1) in place of what is missing: (B, D)."""
        rows = table_rows(self.table, self.size, x, index)
        return torch.where(x.isnan(), rows.sigmoid(), x)

    def for_rows(self, size: int) -> MissingPixels:
        """Return a new, unfitted guide for ``size`` other rows."""
        return MissingPixels(size, self.features).to(self.table)
