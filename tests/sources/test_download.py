import gzip
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from pyrovae.sources import download, transfer
from pyrovae.sources.download import RemoteFile, digest, obtain

CONTENT = os.urandom(200_000)
CHECKSUM = digest("sha256", CONTENT)
WHOLE = gzip.compress(CONTENT, mtime=0)
ANOTHER = gzip.compress(CONTENT, compresslevel=1, mtime=1)
TAMPERED = gzip.compress(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), mtime=0)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        kind = self.path.strip("/").split("/")[0]
        if kind == "missing":
            self.send_error(404)
            return
        swollen = gzip.compress(bytes(download.LARGEST + 1)) if kind == "swollen" else b""
        bad = {"tampered": TAMPERED, "noise": b"<html>not here</html>", "swollen": swollen}
        body = bad.get(kind, WHOLE)
        if kind == "short":
            body = WHOLE[: len(WHOLE) // 2]
        self.send_response(200)
        if kind != "short":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind in ("truncated", "stalled", "interrupted"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if kind == "stalled":
                self.server.released.wait(10)
            return
        if kind == "dripping":
            while not self.server.released.wait(0.02):
                self.wfile.write(b"x")
                self.wfile.flush()
            return
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server on loopback, and an empty cache."""
    monkeypatch.delenv("PYROVAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(transfer, "TIMEOUT", (2.0, 0.3))
    monkeypatch.setattr(download.pooch, "os_cache", lambda name: tmp_path / name)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked, running.released = [], threading.Event()
        running.cache = tmp_path / "pyrovae" / "set"
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


def remote(server, *kinds, checksum=CHECKSUM, **options):
    port = server.server_address[1]
    addresses = tuple(f"http://127.0.0.1:{port}/{kind}/file.gz" for kind in kinds)
    return RemoteFile("file.gz", "set", addresses, checksum=checksum, **options)


def left(server):
    return sorted(p.name for p in server.cache.iterdir()) if server.cache.exists() else []


KINDS = ["missing", "truncated", "short", "stalled", "dripping", "tampered", "noise"]


def test_a_file_is_downloaded_once(server):
    file = remote(server, "whole")
    assert obtain(file, bytes) == CONTENT
    assert obtain(file, bytes) == CONTENT
    assert server.asked == ["/whole/file.gz"]
    assert left(server) == ["file.gz"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_mirror_makes_up_for_a_bad_one(server, kind):
    assert obtain(remote(server, kind, "whole"), bytes) == CONTENT
    assert server.asked == [f"/{kind}/file.gz", "/whole/file.gz"]
    assert left(server) == ["file.gz"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "the server answered 404"),
        ("truncated", "the transfer broke off"),
        ("short", "broken or truncated"),
        ("stalled", "the transfer stalled"),
        ("dripping", "the transfer stalled"),
        ("tampered", "broken or changed, its checksum is sha256:"),
        ("noise", "broken or changed"),
    ],
)
def test_without_a_good_mirror_one_sentence_says_where_to_put_the_file(server, kind, reason):
    begun = time.monotonic()
    with pytest.raises(ConnectionError) as caught:
        obtain(remote(server, kind), bytes)
    message = str(caught.value)
    assert reason in message
    assert f"/{kind}/file.gz" in message
    assert str(server.cache) in message
    assert "PYROVAE_DATA" in message
    assert "\n" not in message
    assert left(server) == []
    assert time.monotonic() - begun < 5


def test_no_more_is_decompressed_than_any_data_set_has(server, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 1 << 20)
    with pytest.raises(ConnectionError, match="changed, it decompresses to more than 1 MiB"):
        obtain(remote(server, "swollen"), bytes)
    assert left(server) == []


def test_no_network_is_said_in_the_same_sentence(server):
    file = RemoteFile("file.gz", "set", ("http://127.0.0.1:1/file.gz",), digest("md5", CONTENT))
    with pytest.raises(ConnectionError, match="no connection.*download it from http://127.0.0.1:1"):
        obtain(file, bytes)


BROKEN = pytest.mark.parametrize("broken", [b"", WHOLE[:1000], TAMPERED, WHOLE + b"more"])


@BROKEN
def test_a_good_copy_takes_the_place_of_a_broken_one_in_the_cache(server, broken):
    server.cache.mkdir(parents=True)
    (server.cache / "file.gz").write_bytes(broken)
    assert obtain(remote(server, "whole"), bytes) == CONTENT
    assert (server.cache / "file.gz").read_bytes() == WHOLE


@BROKEN
@pytest.mark.parametrize("name", ["file.gz", "file"])
def test_a_broken_copy_in_the_cache_is_named_and_left_where_no_good_one_is_had(
    server, broken, name
):
    server.cache.mkdir(parents=True)
    (server.cache / name).write_bytes(broken)
    with pytest.raises(ConnectionError, match=f"{name}: broken.*404"):
        obtain(remote(server, "missing"), bytes)
    assert (server.cache / name).read_bytes() == broken


def test_a_cache_that_cannot_be_written_costs_a_warning_alone(server, caplog):
    server.cache.parent.mkdir(parents=True)
    server.cache.write_text("where the folder would be")
    for _ in range(2):
        assert obtain(remote(server, "whole"), bytes) == CONTENT
    assert f"file.gz cannot be kept in {server.cache} (File exists)" in caplog.text
    assert server.asked == ["/whole/file.gz"] * 2


def test_a_copy_that_cannot_be_read_is_replaced(server, monkeypatch):
    obtain(remote(server, "whole"), bytes)
    denied = PermissionError(13, "Permission denied")
    with monkeypatch.context() as patch:
        patch.setattr(download.Path, "read_bytes", lambda path: (_ for _ in ()).throw(denied))
        with pytest.raises(ConnectionError, match=r"Permission denied.*answered 404"):
            obtain(remote(server, "missing"), bytes)
        assert obtain(remote(server, "whole"), bytes) == CONTENT


def test_a_copy_put_into_the_cache_by_hand_is_taken(server):
    server.cache.mkdir(parents=True)
    (server.cache / "file").write_bytes(CONTENT)
    assert obtain(remote(server, "missing"), bytes) == CONTENT
    assert server.asked == []


def test_an_interrupted_download_leaves_nothing_half_written(server, monkeypatch):
    def interrupted(response, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("urllib3.response.HTTPResponse.read1", interrupted)
    with pytest.raises(KeyboardInterrupt):
        obtain(remote(server, "whole"), bytes)
    assert left(server) == []


DOWNLOAD = """
import sys
from pathlib import Path
from pyrovae.sources import download
download.pooch.os_cache = lambda name: Path(sys.argv[1]) / name
file = download.RemoteFile("file.gz", "set", (sys.argv[2],))
download.obtain(file, bytes)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_download_leaves_nothing(server, tmp_path, number):
    address = remote(server, "stalled").addresses[0]
    with subprocess.Popen([sys.executable, "-c", DOWNLOAD, str(tmp_path), address]) as process:
        while not server.asked:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(number)
    assert process.returncode == -number
    assert left(server) == []


def test_a_transfer_without_end_is_given_up(server, monkeypatch):
    monkeypatch.setattr(transfer, "MOST", len(WHOLE) - 1)
    with pytest.raises(ConnectionError, match=f"more than {len(WHOLE) - 1} bytes came"):
        obtain(remote(server, "whole"), bytes)


def test_what_cannot_be_decoded_is_refused_and_the_next_mirror_asked(server):
    def decode(content):
        if len(server.asked) == 1:
            raise ValueError("odd header")
        return "decoded"

    assert obtain(remote(server, "whole", "whole", checksum=None), decode) == "decoded"
    with pytest.raises(ConnectionError, match="odd header"):
        obtain(
            remote(server, "whole", checksum=None),
            lambda content: (_ for _ in ()).throw(ValueError("odd header")),
        )


def test_the_checksum_as_served_is_as_good_as_that_of_the_content(server, monkeypatch, tmp_path):
    file = remote(server, "missing", served_checksum=digest("md5", WHOLE))
    unknown = replace(file, checksum="md5:00")
    monkeypatch.setenv("PYROVAE_DATA", str(tmp_path))
    for content, known in [(WHOLE, unknown), (WHOLE, file), (ANOTHER, file), (CONTENT, file)]:
        (tmp_path / "file.gz").write_bytes(content)
        assert obtain(known, bytes) == CONTENT
    for content, known in [(ANOTHER, unknown), (TAMPERED, file)]:
        (tmp_path / "file.gz").write_bytes(content)
        with pytest.raises(ValueError, match="broken or changed"):
            obtain(known, bytes)


@pytest.mark.parametrize("place", ["set/file.gz", "set/file", "file.gz", "file", "alias.bin"])
def test_a_folder_of_ones_own_stands_for_the_network(server, monkeypatch, tmp_path, place):
    path = tmp_path / "own" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(ANOTHER if place.endswith("gz") else CONTENT)
    monkeypatch.setenv("PYROVAE_DATA", str(tmp_path / "own"))
    assert obtain(remote(server, "whole", aliases=("alias.bin",)), bytes) == CONTENT
    assert server.asked == []


def test_a_missing_file_in_that_folder_is_not_downloaded(server, monkeypatch, tmp_path):
    monkeypatch.setenv("PYROVAE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"put it at .*set/file.gz \(from http"):
        obtain(remote(server, "whole"), bytes)
    assert server.asked == []


def test_a_broken_file_in_that_folder_is_refused_and_left_alone(server, monkeypatch, tmp_path):
    (tmp_path / "file.gz").write_bytes(TAMPERED)
    monkeypatch.setenv("PYROVAE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"file.gz is not the file it should be: .*checksum"):
        obtain(remote(server, "whole"), bytes)
    assert (tmp_path / "file.gz").read_bytes() == TAMPERED


def test_git_names_content_as_git_does():
    assert digest("git", b"hello\n") == "git:ce013625030ba8dba906f756967f9e9ca394464a"


@pytest.mark.parametrize("checksum", ["abc", "sha1:abc", "sha256:", "md5:a b"])
def test_a_checksum_names_its_algorithm(checksum):
    with pytest.raises(ValueError, match="one of sha256, md5, git, a colon"):
        RemoteFile("file.gz", "set", (), checksum=checksum)
