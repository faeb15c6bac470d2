"""One file over the network: in memory until it is whole, and given up if it comes too slowly."""

from __future__ import annotations

import time

import requests
import urllib3
from tqdm import tqdm

# Seconds to connect, and seconds without LEAST bytes after which a transfer counts as stalled.
TIMEOUT: tuple[float, float] = (10.0, 30.0)
LEAST = 2**15
MOST = 2**28  # bytes of a file: ten times the largest that is asked for


def served_by(address: str) -> bytes:
    """What an address serves, whole, as it is published there.

    Raises:
        ConnectionError: no connection, no such file, or the transfer broke off, stalled or did not end.
    """
    try:
        return _read(address)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise ConnectionError(_short(error)) from error


def _read(address: str) -> bytes:
    # What is compressed for the way only would not be the file as it is published.
    headers = {"Accept-Encoding": "identity"}
    with requests.get(address, stream=True, timeout=TIMEOUT, headers=headers) as response:
        response.raise_for_status()
        total = int(response.headers.get("content-length", 0)) or None
        found, looked, then = bytearray(), time.monotonic(), 0
        name = address.rpartition("/")[2]
        with tqdm(total=total, desc=name, unit="B", unit_scale=True) as bar:
            # Not `iter_content`, which waits for a whole piece, however slowly its bytes come.
            while piece := response.raw.read1(2**16, decode_content=False):
                found += piece
                bar.update(len(piece))
                if len(found) > MOST:
                    raise OSError(f"more than {MOST} bytes came")
                if time.monotonic() - looked > TIMEOUT[1]:
                    if len(found) - then < LEAST:
                        raise OSError("the transfer stalled")
                    looked, then = time.monotonic(), len(found)
    return bytes(found)


def _short(error: Exception) -> str:
    """What went wrong without the layers of the network library that passed it on."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "the transfer stalled"
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return "the transfer broke off"
    return "no connection" if isinstance(error, requests.ConnectionError) else str(error)
