"""What a step frees stays with the process."""

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import torch
from pyrovae.step.freed_memory import keep_freed_memory

def step():
    parts = [torch.ones({numbers}) for _ in range({blocks})]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
for _ in range(5):
    step()
print(faults())
"""


def faults(blocks, numbers, **surroundings):
    """Pages taken in 50 steps; a program of its own has not freed anything before."""
    steps = STEPS.format(blocks=blocks, numbers=numbers)
    run = subprocess.run(
        [sys.executable, "-c", steps],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **surroundings},
    )
    return int(run.stdout)


@pytest.mark.parametrize(("blocks", "numbers"), [(20, 2**18), (12, 2**22)])
def test_pages_are_not_taken_anew_at_every_step(blocks, numbers):
    taken = faults(blocks, numbers)
    if platform.libc_ver()[0] == "glibc":  # others do as they like
        # Without, most runs take some 4,000 of the smaller steps' pages at each of 50 steps, and all 50,000
        # of the larger ones'.
        assert taken < 500


def test_what_the_c_library_was_told_before_holds():
    taken = faults(20, 2**18, MALLOC_TRIM_THRESHOLD_="100000")
    if platform.libc_ver()[0] == "glibc":
        assert taken > 5000
