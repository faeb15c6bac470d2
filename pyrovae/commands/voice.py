"""One voice for the processes that fit together; needs no torch."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from pyrovae.distributed.environment import processes, rank


@contextmanager
def one_voice() -> Iterator[None]:
    """Let the first of them alone print; what its terminal has no sign for becomes a question mark."""
    if rank() == 0:
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="replace")
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def connect() -> None:
    """Connect the processes now, so that of what is wrong one of them speaks for all."""
    if processes() > 1:
        from pyrovae.distributed.group import current

        current()


def first_to_say(what: str) -> bool:
    """Whether this process shall say what one of them must, once."""
    if processes() == 1:
        return True
    from pyrovae.distributed import group

    return group.first_to_say(what)
