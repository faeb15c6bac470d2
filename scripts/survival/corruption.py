"""Checkpoints that are not what was written: each must be refused, in a sentence, and soon."""

from __future__ import annotations

import copy
import itertools
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from combinations import COMBINATIONS
from figures import Figure
from kills import TMP, in_a_child, stopped_at

from pyrovae import checkpoint
from pyrovae.training.checkpoint_folder import CheckpointFolder

SLOWEST = 5.0
Case = tuple[str, Callable[[], None]]


class Folder:
    """A folder with one checkpoint of a small fit, which is damaged and mended again and again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.combination = next(iter(COMBINATIONS.values()))
        in_a_child(lambda: stopped_at(self.combination, path, 17))
        found = CheckpointFolder(path).manifests()
        for manifest in [*found[1:], *CheckpointFolder(path).manifests("best")]:
            manifest.unlink()
            manifest.with_suffix(".safetensors").unlink()
        self.manifest = found[0]
        self.file = self.manifest.with_suffix(".safetensors")
        self.text, self.content = self.manifest.read_bytes(), self.file.read_bytes()
        self.tensors, self.metadata = checkpoint.load(self.file)

    def mend(self) -> None:
        """As it was written."""
        for path, content in ((self.manifest, self.text), (self.file, self.content)):
            if path.is_symlink() or not path.is_file():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(
                    missing_ok=True
                )
            path.write_bytes(content)

    def forge(self, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        """Write other tensors or metadata, with checksums that are right."""
        tensors, metadata = dict(self.tensors), copy.deepcopy(self.metadata)
        change(tensors, metadata)
        checkpoint.save(self.file, tensors, metadata)

    def forge_manifest(self, **entries: Any) -> None:
        """Other entries in the manifest, signed."""
        manifest = {**json.loads(self.text), **entries}
        manifest.pop("manifest_sha256")
        self.manifest.write_bytes(checkpoint._signed(manifest))

    def load(self) -> None:
        """Read it as a fit does that goes on."""
        if CheckpointFolder(self.path).newest(most=2**26) is None:
            raise ValueError("there is no checkpoint")

    def resume(self) -> None:
        """Go on from it."""
        self.combination.fit(self.path, epochs=4, checkpoint_steps=None)


def corrupted(quick: bool) -> list[Figure]:
    """Damage of every kind; accepted, crashed, slow and hungry ones are counted."""
    with tempfile.TemporaryDirectory(dir=TMP) as name:
        folder = Folder(Path(name) / "fit")
        found, whole = Counts(), Counts()
        for _, damage in _damages(folder, quick):
            found.refuses(folder, damage, folder.load)
        for _, damage in _forgeries(folder):
            found.refuses(folder, damage, folder.resume)
        figures = found.figures("corrupted checkpoints refused")
        odd = Counts()
        for damage in _odd_states(folder, quick):
            odd.survives(folder, damage, folder.resume)
        memory = _memory(Path(name))
        for read in (folder.load, folder.resume):
            whole.refuses(folder, folder.mend, read)
    return [
        *figures,
        Figure("the same checkpoint, undamaged, accepted", whole.accepted, 2),
        Figure(
            "states with odd values and right checksums: no crash, no hang", odd.right, odd.total
        ),
        Figure("peak memory in refusing 64 MiB, percent of the file, under 200", memory, None)
        if memory < 200
        else Figure("peak memory in refusing 64 MiB was twice the file or more", 0, 1),
    ]


class Counts:
    """How many were refused as they should be."""

    def __init__(self) -> None:
        self.total = self.right = self.accepted = self.crashed = 0
        self.slowest = 0.0

    def refuses(self, folder: Folder, damage: Callable[[], None], read: Callable[[], None]) -> None:
        """Count a damage that must be refused."""
        outcome = self._try(folder, damage, read)
        self.right += outcome == "refused"
        self.accepted += outcome == "accepted"
        self.crashed += outcome == "crashed"

    def survives(
        self, folder: Folder, damage: Callable[[], None], read: Callable[[], None]
    ) -> None:
        """Count a damage that may be refused or be without effect."""
        self.right += self._try(folder, damage, read) != "crashed"

    def figures(self, what: str) -> list[Figure]:
        """What is printed."""
        note = f"{self.accepted} accepted, {self.crashed} crashed, the slowest took {self.slowest:.2f} s"
        quick_enough = self.slowest < SLOWEST
        return [
            Figure(what, self.right, self.total, note),
            Figure("  refused within 5 s", self.total if quick_enough else 0, self.total),
        ]

    def _try(self, folder: Folder, damage: Callable[[], None], read: Callable[[], None]) -> str:
        damage()
        self.total += 1
        began = time.perf_counter()
        try:
            read()
            outcome = "accepted"
        except (ValueError, FloatingPointError):  # ResumeError and NonFiniteError are such
            outcome = "refused"
        except Exception as error:  # the figure is that there is none
            print(f"    {type(error).__name__}: {error}")
            outcome = "crashed"
        self.slowest = max(self.slowest, time.perf_counter() - began)
        for extra in folder.path.glob("*"):
            if extra not in (folder.manifest, folder.file):
                extra.unlink()
        folder.mend()
        return outcome


def _damages(folder: Folder, quick: bool) -> Iterator[Case]:
    """Files cut short, bits turned over, and things that are no files."""
    dice = random.Random(0)
    content, text = folder.content, folder.text
    header = 8 + int.from_bytes(content[:8], "little")
    few = 60 if quick else 1
    for length in range(0, len(content), few):
        yield "cut", lambda n=length: folder.file.write_bytes(content[:n])
    for length in range(0, len(text), few):
        yield "manifest cut", lambda n=length: folder.manifest.write_bytes(text[:n])
    for bit in range(0, 8 * header, few if quick else 4):
        yield "header bit", lambda b=bit: folder.file.write_bytes(_flipped(content, b))
    for _ in range(4000 // few):
        bit = dice.randrange(8 * header, 8 * len(content))
        yield "data bit", lambda b=bit: folder.file.write_bytes(_flipped(content, b))
        bit = dice.randrange(8 * len(text))
        yield "manifest bit", lambda b=bit: folder.manifest.write_bytes(_flipped(text, b))
    for path in (folder.file, folder.manifest):
        yield "longer", lambda p=path: p.write_bytes(p.read_bytes() + b"\0")
        yield "zeros", lambda p=path: p.write_bytes(bytes(p.stat().st_size))
        yield "gone", lambda p=path: p.unlink()
        yield "folder", lambda p=path: (p.unlink(), p.mkdir())
        yield "pipe", lambda p=path: (p.unlink(), os.mkfifo(p))
        yield "link out of the tree", lambda p=path: _link(p, Path(tempfile.gettempdir()))
        yield "link to a device", lambda p=path: (p.unlink(), p.symlink_to("/dev/zero"))
    for name in ("../../etc/passwd", "/etc/passwd", "other.safetensors", "", None, 3, "..\\x"):
        yield "another path", lambda n=name: folder.forge_manifest(file=n)
    for entry in ("schema", "bytes", "sha256", "tensors", "metadata"):
        for value in (None, -1, 2, 10**30, "x", [], {}, [[]] * 3):
            if entry != "metadata" or not isinstance(value, dict):
                yield "entry", lambda e=entry, v=value: folder.forge_manifest(**{e: v})
    deep = b'{"schema": 1, "metadata": ' + b"[" * 200_000
    yield "very deep", lambda: folder.manifest.write_bytes(deep)
    digits = b'{"schema": ' + b"9" * 1_000_000 + b"}"
    yield "very many digits", lambda: folder.manifest.write_bytes(digits)
    yield "a terabyte", lambda: _sparse(folder)


def _forgeries(folder: Folder) -> Iterator[Case]:
    """Checkpoints whose checksums are right and whose contents are not."""
    floats = [n for n, t in folder.tensors.items() if t.is_floating_point() and t.numel() > 1]
    checked = [n for n in floats if n.startswith(("now.", "best.", "svi."))]
    for name in checked:
        tensor = folder.tensors[name]
        others = {
            "transposed or longer": tensor.T if tensor.ndim == 2 else torch.cat([tensor, tensor]),
            "flat": tensor.reshape(1, -1),
            "as integers": tensor.view(torch.int32),
            "in half precision": tensor.half(),
            "as other bits": tensor.view(torch.int16).view(torch.bfloat16),
            "NaN inside": _with(tensor, torch.nan),
        }
        if not name.startswith("svi."):
            others["infinity inside"] = _with(tensor, torch.inf)
        for what, other in others.items():
            if other.shape != tensor.shape or other.dtype != tensor.dtype or "inside" in what:
                yield what, lambda n=name, o=other: folder.forge(lambda t, m: t.update({n: o}))
    for name in folder.tensors:
        yield "missing", lambda n=name: folder.forge(lambda t, m: t.pop(n))
        yield "renamed", lambda n=name: folder.forge(lambda t, m: t.update({f"{n}x": t.pop(n)}))
    extra = torch.zeros(3)
    for name in ("now.extra", "best.extra", "extra", "svi.optimizer.state.extra", "random.extra"):
        yield "extra", lambda n=name: folder.forge(lambda t, m: t.update({n: extra}))
    for one, other in itertools.pairwise(n for n in checked if n.startswith("now.")):
        if folder.tensors[one].shape != folder.tensors[other].shape:
            yield (
                "swapped",
                lambda a=one, b=other: folder.forge(lambda t, m: t.update({a: t[b], b: t[a]})),
            )
    for what, change in {
        "of something else": lambda t, m: m.update({"of": "a model"}),
        "no state": lambda t, m: m.pop("state"),
        "no setting": lambda t, m: m.pop("setting"),
        "another data set": lambda t, m: m["setting"].update({"data": "other"}),
        "another objective": lambda t, m: m["setting"].update({"objective": "IWAE"}),
        "another version": lambda t, m: m["setting"].update({"torch": "0.1"}),
        "behind the end": lambda t, m: m["state"]["batches"].update({"position": 10**6}),
        "before the start": lambda t, m: m["state"].update({"steps": -1}),
        "other rows": lambda t, m: m["state"]["batches"].update({"size": 3}),
        "another model's": lambda t, m: t.update(
            {n: torch.zeros(5, 5) for n in list(t) if n.startswith("now.")}
        ),
    }.items():
        yield what, lambda c=change: folder.forge(c)


def _odd_states(folder: Folder, quick: bool) -> Iterator[Callable[[], None]]:
    """Each value in the saved state replaced by values of other kinds."""
    places = list(_places(folder.metadata["state"]))
    values = (None, -1, 2**70, 1e308, "x", [], {}, {"$tensor": "total"}, {"$tuple": []}, {"$x": 1})
    for i, place in enumerate(places):
        for j, value in enumerate(values):
            if (i * len(values) + j) % (40 if quick else 3) == 0:
                yield lambda p=place, v=value: folder.forge(lambda t, m: _put(m["state"], p, v))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _put(value: Any, place: tuple[Any, ...], new: Any) -> None:
    for key in place[:-1]:
        value = value[key]
    value[place[-1]] = new


def _flipped(content: bytes, bit: int) -> bytes:
    position, place = divmod(bit, 8)
    return content[:position] + bytes([content[position] ^ (1 << place)]) + content[position + 1 :]


def _with(tensor: torch.Tensor, value: float) -> torch.Tensor:
    other = tensor.clone()
    other.view(-1)[0] = value
    return other


def _link(path: Path, folder: Path) -> None:
    target = folder / f"outside-{os.getpid()}-{path.name}"
    target.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(target)


def _sparse(folder: Folder) -> None:
    folder.forge_manifest(bytes=2**40)
    with folder.file.open("r+b") as file:
        file.truncate(2**40)


def _memory(path: Path) -> int:
    """Peak memory of refusing a large damaged file, in percent of its size."""
    target = path / "large.safetensors"
    checkpoint.save(target, {"x": torch.zeros(2**24)}, {})
    size = target.stat().st_size
    with target.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\1")
    read, write = os.pipe()

    def refuse() -> None:
        Path("/proc/self/clear_refs").write_text("5")
        before = _peak()
        try:
            checkpoint.load(target)
        except ValueError:
            os.write(write, str(100 * (_peak() - before) // size).encode())

    in_a_child(refuse)
    os.close(write)
    with os.fdopen(read) as pipe:
        return int(pipe.read() or 10**6)


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    return 0
