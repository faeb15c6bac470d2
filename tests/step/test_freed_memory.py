"""What a step frees stays with the process."""

import platform
import resource
import subprocess
import sys

STEPS = """
import resource, sys
import torch
from pyrovae.step.freed_memory import keep_freed_memory

def step():
    parts = [torch.ones(2**18) for _ in range(20)]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    keep_freed_memory()
step()
print(faults())
"""


def faults(how):
    run = [sys.executable, "-c", STEPS, how]
    return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


def test_pages_are_not_taken_anew_at_every_step():
    if platform.libc_ver()[0] == "glibc":  # others do as they like
        pages = 20 * 2**20 // resource.getpagesize()
        assert faults("given back") > pages / 2
        assert faults("kept") < pages / 2
