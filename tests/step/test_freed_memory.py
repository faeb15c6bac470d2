"""What a step frees stays with the process."""

import platform
import subprocess
import sys

STEPS = """
import resource
import torch
from pyrovae.step.freed_memory import keep_freed_memory

def step():
    parts = [torch.ones(2**18) for _ in range(20)]

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


def test_pages_are_not_taken_anew_at_every_step():
    run = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    if platform.libc_ver()[0] == "glibc":  # others do as they like
        # Without, most runs take some 4,000 at each of the 50 steps.
        assert int(run.stdout) < 500
