"""Data sets, each in a file of its own; `__all__` is what the command line offers."""

from pyrovae.data.array import Array
from pyrovae.data.caltech101_silhouettes import Caltech101Silhouettes
from pyrovae.data.digits import Digits
from pyrovae.data.fashion_mnist import FashionMNIST
from pyrovae.data.frey_faces import FreyFaces
from pyrovae.data.kmnist import KMNIST
from pyrovae.data.mnist import MNIST
from pyrovae.data.omniglot import OMNIGLOT
from pyrovae.data.ring import Ring
from pyrovae.data.streamed import Streamed

__all__ = [
    "MNIST",
    "OMNIGLOT",
    "Array",
    "Caltech101Silhouettes",
    "Digits",
    "FashionMNIST",
    "FreyFaces",
    "KMNIST",
    "Ring",
    "Streamed",
]
