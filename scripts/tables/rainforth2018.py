"""Rainforth et al. 2018, Tighter variational bounds are not necessarily better: dynamic MNIST, M K = 64.

    python scripts/tables/rainforth2018.py --cells MIWAE PIWAE

The model of Burda et al. 2016 with one layer; 64 particles in every cell, divided as the name says.
"""

from __future__ import annotations

import argparse
from typing import Any

from burda2016 import DATA
from cells import Cell, one_layer
from tables import main

SOURCE = "Rainforth et al. 2018, mean of 4 runs"
NOTE = "Adam with a cosine schedule, batches of 100, products in bfloat16"
PUBLISHED: dict[str, tuple[dict[str, Any], float, tuple[float, ...]]] = {
    "IWAE": ({"name": "IWAE"}, -84.52, ()),
    "PIWAE": ({"name": "PIWAE", "groups": 8}, -84.46, (-84.58,)),
    "MIWAE": ({"name": "MIWAE", "groups": 8}, -84.97, (-85.09,)),
    "CIWAE": ({"name": "CIWAE", "beta": 0.5}, -85.24, ()),
    "VAE": ({"name": "ELBO"}, -86.21, ()),
}


def cells(options: argparse.Namespace) -> list[Cell]:
    """The table."""
    return [
        Cell(
            name,
            one_layer(
                DATA,
                objective | {"num_particles": 64},
                passes=options.passes or 500,
                lr=2e-3,
            ).updated({"fit": {"precision": "bfloat16"}}),
            published,
            SOURCE,
            reproductions,
            NOTE,
        )
        for name, (objective, published, reproductions) in PUBLISHED.items()
    ]


if __name__ == "__main__":
    main("rainforth2018", __doc__, cells)
