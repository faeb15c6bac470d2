"""Data sets, each in a file of its own; `__all__` is what the command line offers."""

from pyrovae.data.digits import Digits

__all__ = ["Digits"]
