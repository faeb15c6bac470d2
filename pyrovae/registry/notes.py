"""Warnings and log messages of a piece of work, collected instead of printed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

LOGGERS = ("pyrovae", "pyro")


class Notes(logging.Handler):
    """While the context lasts, collects warnings and what is logged as one, each a line.

    Args:
        heard: called with each new line as it is said.

    Attributes:
        said: the lines, each once, in order.

    Example:
        >>> with Notes() as notes:
        ...     warnings.warn("the tide is rising")
        >>> notes.said
        ['warning: the tide is rising']
    """

    def __init__(self, heard: Callable[[str], None] | None = None) -> None:
        logging.Handler.__init__(self, logging.WARNING)
        self._heard = heard
        self.said: list[str] = []
        self._warnings = warnings.catch_warnings()
        self._found: dict[str, tuple[list[logging.Handler], bool]] = {}

    def __enter__(self) -> Notes:
        self._warnings.__enter__()
        warnings.simplefilter("default")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.showwarning = self._warn  # type: ignore[assignment]
        for name in LOGGERS:
            logger = logging.getLogger(name)
            self._found[name] = (logger.handlers, logger.propagate)
            logger.handlers, logger.propagate = [self], False
        return self

    def __exit__(self, *_: object) -> None:
        for name, (handlers, propagate) in self._found.items():
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = handlers, propagate
        self._warnings.__exit__(None, None, None)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a log message."""
        self._keep(f"note: {record.getMessage()}")

    def _warn(self, message: Warning | str, *_: object) -> None:
        self._keep(f"warning: {message}")

    def _keep(self, line: str) -> None:
        line = " ".join(line.split())
        if line not in self.said:
            self.said.append(line)
            if self._heard is not None:
                self._heard(line)
