"""Starts several processes that know of each other, on the loopback interface, without torchrun."""

import os
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run(what, folder, ranks=2):
    """Their exit statuses, and what they wrote to standard error."""
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
            [sys.executable, str(HERE / "worker.py"), what, str(folder)],
            env={**os.environ, **here, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    said = [process.communicate(timeout=120)[1] for process in started]
    return [process.returncode for process in started], said
