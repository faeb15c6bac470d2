"""Starts several processes that know of each other, on the loopback interface, without torchrun."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def start():
    return _start


@pytest.fixture(scope="session")
def run():
    """Carry out a part of `worker.py`: exit statuses, and what was written to standard error."""

    def carry_out(what, folder, ranks=2):
        statuses, _, said = _start([str(HERE / "worker.py"), what, str(folder)], ranks)
        return statuses, said

    return carry_out


def _start(words, ranks=2):
    """Exit statuses, and what each wrote to standard output and to standard error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    here |= {"WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"}
    here["PYTHONPATH"] = os.pathsep.join(
        [str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")]
    )
    started = [
        subprocess.Popen(
            [sys.executable, *words],
            env={**os.environ, **here, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    out, err = zip(*(process.communicate(timeout=120) for process in started))
    return [process.returncode for process in started], out, err
