"""A guide with its own parameters for every datapoint."""

from __future__ import annotations

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae.families import make_family
from pyrovae.programs import data_plate, table_rows


class PerDatapoint(PyroModule):
    r"""A guide with its own parameters for every datapoint, found by the row's index.

    .. math:: q(z_n \mid x_n) = \text{family}(z_n;\, \lambda_n), \qquad n = 1 \dots N

    Args:
        size: N, rows in the data set.
        latent: L, latent dimensions (for ``"categorical"``, the number of categories).
        family: ``"diagonal"``, ``"full"``, ``"flow"`` or another of `pyrovae.families.FAMILIES`.

    Raises:
        ValueError: an unknown family, a size below 1, or a batch that is not the whole data set and
            comes without ``index``.

    Source: Stochastic variational inference (Hoffman, Blei, Wang & Paisley, 2013), its local parameters.

    How to read it: no amortization gap once it has converged, but the number of parameters grows with
    N, and a row that was not in training has none: see `pyrovae.refit`.

    Example:
        >>> import torch
        >>> guide = PerDatapoint(size=10, latent=2)
        >>> guide(torch.zeros(3, 64), index=torch.tensor([0, 4, 9]), size=10).shape
        torch.Size([3, 2])
    """

    # Parameters whose rows belong to the rows of the data set: a step need not touch the others.
    row_tables: tuple[str, ...] = ("table",)

    def __init__(self, size: int, latent: int, *, family: str = "diagonal") -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size is {size}: a table needs at least one row")
        self.size = size
        self.latent = latent
        self.family_name = family
        self.family = make_family(family, latent)
        self.table = nn.Parameter(torch.zeros(size, self.family.size))

    def forward(self, x: Tensor, index: Tensor | None = None, size: int | None = None) -> Tensor:
        """Draw z for the rows ``index`` of the data set: (..., B, L), or (..., B) for a category."""
        parameters = self.local_parameters(x, index)
        with data_plate(len(x), index, size):
            z: Tensor = pyro.sample("z", self.family.distribution(parameters))
        return z

    def local_parameters(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """What the family is given for the rows ``index`` of the data set: (B, size)."""
        return table_rows(self.table, self.size, x, index)

    def for_rows(self, size: int) -> PerDatapoint:
        """Return a new, unfitted guide of the same family for ``size`` other rows."""
        guide = PerDatapoint(size, self.latent, family=self.family_name)
        return guide.to(self.table)
