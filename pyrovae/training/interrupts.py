"""Ctrl-C and SIGTERM that wait for the step under way; the second one does not."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):  # an interrupt is no error
    """A fit was interrupted, and what it takes to go on was written.

    Attributes:
        signal: the number of the signal.
    """

    def __init__(self, sentence: str, number: int) -> None:
        self.signal = number
        KeyboardInterrupt.__init__(self, sentence)


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where Ctrl-C raises KeyboardInterrupt."""

    signal = signal.SIGTERM


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated("terminated")


@contextmanager
def terminable() -> Iterator[None]:
    """While the context lasts, SIGTERM raises `Terminated` in the main thread, so that nothing is cut."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, found)


class Interrupts:
    """While the context lasts, the first signal is noted in ``received``; the second stops at once.

    Signals that are ignored stay ignored, and nothing is done outside the main thread, where Python
    handles none.

    Args:
        wanted: whether to note signals at all.
        patient: a second one does not stop at once either; torchrun hands on what the terminal sent already.

    Example:
        >>> with Interrupts() as interrupts:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     print(interrupts.received == signal.SIGTERM)
        True
    """

    def __init__(self, wanted: bool = True, *, patient: bool = False) -> None:
        self.received: int | None = None
        self._patient = patient
        self._wanted = wanted and threading.current_thread() is threading.main_thread()
        self._found: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if self._wanted:
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._found[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._found.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and not self._patient:
            if number == signal.SIGTERM:
                _terminate(number, frame)
            raise KeyboardInterrupt
        self.received = number
