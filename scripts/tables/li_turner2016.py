"""Li & Turner 2016, Renyi divergence variational inference: Caltech-101 silhouettes, K = 5.

    python scripts/tables/li_turner2016.py
    python scripts/tables/li_turner2016.py --cells VR-max-5 --seeds 0 1 2 --evaluations 3

The set-up of the paper: 4,100 training images, pixels flipped, batches of 20, 255 passes, Adam from 1e-3 to
1e-4 in eight stages of 1, 2, 4, ... passes. Its architecture for these images is not certain. Its text names
one deterministic layer of 500 units and 200 latent ones as an example, and says that all else is as in Burda
et al. 2016, whose model has two layers of 200 and 50 latent units; both are here, the latter as "burda". The
paper keeps the last parameters; so do "burda" and "last". The others keep the best on the 2,264 validation
images. A larger learning rate fits the training images sooner and the others much worse.
"""

from __future__ import annotations

import argparse

from cells import Cell, decaying, one_layer
from tables import main

SOURCE = "Li & Turner 2016, table of test log-likelihoods, L = 1, K = 5"
NOTE = "the architecture is not fully certain"
PUBLISHED = {"VAE": ("ELBO", -119.69), "IWAE": ("IWAE", -117.89), "VR-max": ("VRMax", -118.01)}
# End of the name, sizes of the layers, latent units, passes between looks at the validation images, note.
SETUPS = (
    ("", (500,), 200, 5, "parameters chosen on the validation images"),
    ("-last", (500,), 200, None, "the last parameters"),
    ("-burda", (200, 200), 50, None, "the last parameters; sizes of Burda et al. 2016"),
)
# Theirs is 1e-4 for a gradient summed over the batch; ours is scaled up to all images.
EPSILON = 1e-4 * 4100 / 20


def cells(options: argparse.Namespace) -> list[Cell]:
    """The table."""
    made = []
    for end, hidden, latent, every, note in SETUPS:
        for name, (objective, published) in PUBLISHED.items():
            config = one_layer(
                {"name": "Caltech101Silhouettes"},
                {"name": objective, "num_particles": 5},
                passes=options.passes or 255,
                latent=latent,
                hidden=hidden,
                scheduler=decaying(1, 3, 7, 15, 31, 63, 127),
                batch_size=20,
                validate_every=every,
            ).updated({"optim": {"name": "Adam", "lr": 1e-3, "eps": EPSILON}})
            made.append(Cell(f"{name}-5{end}", config, published, SOURCE, (), f"{NOTE}; {note}"))
    return made


if __name__ == "__main__":
    main("li_turner2016", __doc__, cells)
