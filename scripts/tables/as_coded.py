"""Ways of the code of Burda et al. 2016, which Li & Turner 2016 built on, that the texts leave out.

A configuration names these parts by their paths, such as ``as_coded.Adam``. Images are taken in the order
of the file in every pass (``shuffle: false``).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Adam(torch.optim.Adam):
    """Adam with beta1 = 0.99, epsilon 1e-4, and averages of squares that begin at 1, not at 0.

    Epsilon and the 1 are for a gradient that is the sum over a batch.

    Args:
        params: to train.
        lr: the learning rate.
        larger: by how much a gradient here is larger than the sum over a batch: N / B in a fit.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, larger: float = 1.0) -> None:
        super().__init__(params, lr=lr, betas=(0.99, 0.999), eps=1e-4 * larger)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.full_like(parameter, larger**2),
                }
