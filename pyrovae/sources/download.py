"""Files of public data sets: from a folder of one's own, the cache, or the network.

What is checked is the content, after decompression: a recompressed copy of the right file passes, a
changed one does not. Nothing enters the cache before it is whole and checked, and nothing leaves it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pooch

from pyrovae.sources.transfer import served_by
from pyrovae.storage.files import write_atomically

log = logging.getLogger("pyrovae")

FOLDER_VARIABLE = "PYROVAE_DATA"
LARGEST = 1 << 28  # bytes of a file's content, several times those of any of these data sets
_ALGORITHMS = ("sha256", "md5", "git")

Decoded = TypeVar("Decoded")


@dataclass(frozen=True)
class RemoteFile:
    """A public file and how to know it.

    Args:
        name: as published, such as `train-images-idx3-ubyte.gz`.
        folder: of the data set; below the cache and, if it is there, below `PYROVAE_DATA`.
        addresses: where it is served, the best first.
        checksum: `algorithm:hexadecimal` of the content after decompression; None if `decode` checks it.
        served_checksum: the same of the bytes as served; a copy that has it passes, too.
        aliases: other names under which a copy is accepted.
    """

    name: str
    folder: str
    addresses: tuple[str, ...]
    checksum: str | None = None
    served_checksum: str | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for checksum in (self.checksum, self.served_checksum):
            algorithm, _, value = (checksum or "sha256:0").partition(":")
            if algorithm not in _ALGORITHMS or not value.isalnum():
                raise ValueError(
                    f"the checksum of {self.name} must be one of {', '.join(_ALGORITHMS)}, a colon "
                    f"and hexadecimal digits, got {checksum!r}"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """What a copy may be called."""
        return tuple(dict.fromkeys((self.name, self.name.removesuffix(".gz"), *self.aliases)))


def obtain(file: RemoteFile, decode: Callable[[bytes], Decoded]) -> Decoded:
    """The content of a public file, checked and decoded.

    With the environment variable `PYROVAE_DATA`, the file is looked for in that folder and its
    sub-folder for the data set, and nothing is downloaded. Otherwise it comes from the cache, or
    from the first address that gives a whole and unchanged copy, which takes the place of a broken one.
    Where the cache cannot be written, a warning says so.

    Args:
        file: which.
        decode: makes the result from the decompressed content; raises a ValueError if it is broken.

    Raises:
        FileNotFoundError: not in the folder named by `PYROVAE_DATA`.
        ValueError: the copy there is broken, truncated or changed.
        ConnectionError: no address gave the file; says where to put it by hand.
    """
    if os.environ.get(FOLDER_VARIABLE):
        path = _in_own_folder(file, Path(os.environ[FOLDER_VARIABLE]).expanduser())
        try:
            return decode(_content(path.read_bytes(), file))
        except ValueError as error:
            raise ValueError(f"{path} is not the file it should be: {error}") from error
    cache = Path(pooch.os_cache("pyrovae")) / file.folder
    failures = []
    for path in [cache / name for name in file.names]:
        if path.is_file():
            try:
                return decode(_content(path.read_bytes(), file))
            except (ValueError, OSError) as error:
                failures.append(f"{path}: {error}")
    for address in file.addresses:
        try:
            raw = served_by(address)
            found = decode(_content(raw, file))
        except (ValueError, ConnectionError) as error:
            failures.append(f"{address}: {error}")
            continue
        _keep(cache, file.name, raw)
        return found
    raise ConnectionError(
        f"{file.name} could not be had ({'; '.join(failures)}): download it from "
        f"{file.addresses[0]} and put it into {cache}, or name a folder that holds it in the "
        f"environment variable {FOLDER_VARIABLE}"
    )


def digest(algorithm: str, content: bytes) -> str:
    """`algorithm:hexadecimal`; the algorithm `git` is the SHA-1 by which git names the content.

    >>> digest("git", b"")
    'git:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    if algorithm == "git":
        content = b"blob %d\0" % len(content) + content
    name = "sha1" if algorithm == "git" else algorithm
    return f"{algorithm}:{hashlib.new(name, content, usedforsecurity=False).hexdigest()}"


def _in_own_folder(file: RemoteFile, folder: Path) -> Path:
    places = [folder / file.folder / name for name in file.names]
    places += [folder / name for name in file.names]
    for path in places:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{file.name} is not in the folder {folder} that {FOLDER_VARIABLE} names: put it at "
        f"{places[0]} (from {file.addresses[0]}), or unset {FOLDER_VARIABLE} to download it"
    )


def _keep(cache: Path, name: str, raw: bytes) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        write_atomically(cache / name, raw)
    except OSError as error:  # what was downloaded is as good without
        why = error.strerror or error
        log.warning("%s cannot be kept in %s (%s): it is downloaded every time.", name, cache, why)


def _content(raw: bytes, file: RemoteFile) -> bytes:
    content = _decompressed(raw) if raw[:2] == b"\x1f\x8b" else raw
    as_served = file.served_checksum is not None and _has(raw, file.served_checksum)
    if file.checksum is not None and not as_served and not _has(content, file.checksum):
        found = digest(file.checksum.partition(":")[0], content)
        raise ValueError(f"broken or changed, its checksum is {found} instead of {file.checksum}")
    return content


def _decompressed(raw: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError("broken or truncated, it cannot be decompressed") from error
    if len(content) > LARGEST:
        raise ValueError(f"changed, it decompresses to more than {LARGEST >> 20} MiB")
    return content


def _has(content: bytes, checksum: str) -> bool:
    return digest(checksum.partition(":")[0], content) == checksum.lower()
