"""More threads than code was compiled for do not write where there is no place."""

import subprocess
import sys

STEPS = """
import functools, os
import torch
from pyrovae import SVI
from pyrovae.guides import Amortized
from pyrovae.models import VAE
from pyrovae.objectives import IWAE

x = torch.rand(128, 64, generator=torch.Generator().manual_seed(0)).round()

def losses(level):
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count())
    adam = functools.partial(torch.optim.Adam, lr=1e-3)
    programs = VAE(64, latent=2, hidden=(64,)), Amortized(64, 2, hidden=(64,))
    svi = SVI(*programs, adam, IWAE(num_particles=20), level=level)
    for threads in (os.cpu_count(), os.cpu_count() + 4):
        torch.set_num_threads(threads)
        for _ in range(4):
            yield svi.step(x)

print(*losses("eager"), *losses("compiled"))
"""


def test_more_threads_than_before():
    run = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    numbers = [float(number) for number in run.stdout.split()]
    assert len(numbers) == 16
    for one, other in zip(numbers[:8], numbers[8:], strict=True):
        assert abs(one - other) <= 1e-5 * abs(one)
