"""One writer at a time in a folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


class FolderInUseError(OSError):
    """Another process, or another fit of this one, writes to the folder."""

    def __str__(self) -> str:
        return str(self.args[0])


class FolderLock:
    """Holds a folder for one writer; the system lets go of it however the process ends.

    Args:
        folder: there already.

    Raises:
        FolderInUseError: another writer holds it.
        OSError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, FolderLock(folder):
        ...     FolderLock(folder).__enter__()
        Traceback (most recent call last):
        ...
        pyrovae.storage.folder_lock.FolderInUseError: ... is being written by process ...
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._descriptor: int | None = None

    def __enter__(self) -> FolderLock:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            descriptor = os.open(self.folder / NAME, flags, 0o644)
        except OSError as error:
            why = error.strerror or error
            raise OSError(
                error.errno,
                f"the folder {self.folder} cannot be written ({why}); name one that can be",
            ) from error
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise FolderInUseError(
                f"{self.folder} is being written by {holder}: wait until it is done, or name another "
                "folder"
            ) from error
        except OSError:
            pass  # a file system without locks
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
