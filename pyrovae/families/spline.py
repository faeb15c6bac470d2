"""Monotone splines made of ratios of straight lines, and their inverses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from pyrovae.families.base import positive

BINS = 5
BOUND = 4.0
# The least share of [-4, 4] that a bin has, slope at a knot, and share of its bin that a half has.
_LEAST_LENGTH, _LEAST_SLOPE, _LEAST_SHARE = 1e-3, 1e-3, 0.025

Places = tuple[Tensor, Tensor]


class Spline:
    r"""An elementwise monotone map of [-4, 4] onto itself, and the identity elsewhere and at zero.

    Each of the bins has two halves, and each half, with s and t the shares of its width and height, is

    .. math:: t = \frac{r s}{(1 - s) + r s}, \qquad s = \frac{t}{t + r (1 - t)}, \qquad
              \frac{dt}{ds} = \frac{r}{((1 - s) + r s)^2}

    which has no difference of large terms. The slopes r at the knots are those that make it smooth.

    Args:
        raw: (..., 4 bins - 1) numbers: widths, heights, slopes at the inner knots, where bins are halved.

    Source: Invertible generative modeling using linear rational splines (Dolatabadi, Erfani & Leckie, 2020).

    Example:
        >>> bent = Spline(torch.randn(3, 19).double())
        >>> y = bent(torch.tensor([-1.0, 0.0, 5.0]).double())
        >>> bent.inverse(y)[0]
        tensor([-1.0000,  0.0000,  5.0000], dtype=torch.float64)
    """

    def __init__(self, raw: Tensor) -> None:
        widths, heights, slopes, shares = raw.split([BINS, BINS, BINS - 1, BINS], -1)
        width, height = _lengths(widths), _lengths(heights)
        slopes = _LEAST_SLOPE + (1.0 - _LEAST_SLOPE) * positive(slopes)
        slopes = pad(slopes, (1, 1), value=1.0)
        share = _LEAST_SHARE + (1.0 - 2.0 * _LEAST_SHARE) * shares.sigmoid()
        # Homogeneous weights of a bin's ends, 1 and `end`, and of the point between its halves.
        left, right = slopes[..., :-1], slopes[..., 1:]
        end = (left / right).sqrt()
        middle = (share * left + (1.0 - share) * end * right) * width / height
        rise = share * end / ((1.0 - share) + share * end)
        self._x = _places(width * share, width * (1.0 - share))
        self._y = _places(height * rise, height * (1.0 - rise))
        self._ratios = _halves(middle, end / middle)

    def __call__(self, x: Tensor) -> Tensor:
        """``x`` (...) to y (...)."""
        inside, s, ratio, _, bottom, height = self._found(x, self._x, self._y)
        t = ratio * s / ((1.0 - s) + ratio * s)
        return torch.where(inside, bottom + height * t, x)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """``y`` (...) to x (...), and log dy/dx there."""
        inside, t, ratio, height, left, width = self._found(y, self._y, self._x)
        scale = t + ratio * (1.0 - t)
        # The denominator of t is the ratio over that of s.
        log_slope = (height / (width * ratio)).log() + 2.0 * scale.log()
        x = left + width * t / scale
        return torch.where(inside, x, y), torch.where(inside, log_slope, 0.0)

    def _found(self, value: Tensor, own: Places, other: Places) -> tuple[Tensor, ...]:
        """Whether values are inside, their shares of their half, its ratio and length, where it goes."""
        inside = value.abs() < BOUND
        value = torch.where(inside, value, 0.0)  # far out, what is not taken may overflow
        half = (value.unsqueeze(-1) >= own[0][..., 1:]).sum(-1, keepdim=True)
        shape = (*half.shape[:-1], 2 * BINS)
        start, length, there, length_there, ratio = (
            each.expand(shape).gather(-1, half).squeeze(-1) for each in (*own, *other, self._ratios)
        )
        return inside, (value - start) / length, ratio, length, there, length_there


def _lengths(raw: Tensor) -> Tensor:
    """Any numbers to lengths above 0 that fill [-4, 4]."""
    return 2.0 * BOUND * (_LEAST_LENGTH + (1.0 - BINS * _LEAST_LENGTH) * raw.softmax(-1))


def _halves(first: Tensor, second: Tensor) -> Tensor:
    """Those of all bins in their order: (..., 2 bins)."""
    return torch.stack([first, second], -1).flatten(-2)


def _places(first: Tensor, second: Tensor) -> Places:
    """Where each half begins, and how long it is."""
    lengths = _halves(first, second)
    return pad(lengths.cumsum(-1)[..., :-1], (1, 0)) - BOUND, lengths
