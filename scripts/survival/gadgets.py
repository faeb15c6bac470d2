"""Files of strangers: pickles that run code, under the names of our files, given to all that reads them."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figures import Figure
from kills import TMP, in_a_child

from pyrovae import checkpoint, report
from pyrovae.cli import main
from pyrovae.experiment import configuration, load
from pyrovae.records import OutputFolder
from pyrovae.registry.plain import mapping
from pyrovae.training.checkpoint_folder import CheckpointFolder

# What each family calls, with MARK for the path of a file that it makes.
FAMILIES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "os.system": ("os system", ("touch MARK",)),
    "posix.system": ("posix system", ("touch MARK",)),
    "os.popen": ("os popen", ("touch MARK",)),
    "os.mkdir": ("os mkdir", ("MARK",)),
    "os.makedirs": ("os makedirs", ("MARK",)),
    "os.symlink": ("os symlink", ("/etc/passwd", "MARK")),
    "os.mkfifo": ("os mkfifo", ("MARK",)),
    "os.spawnlp": ("os spawnlp", (0, "touch", "touch", "MARK")),
    "os.posix_spawnp": ("os posix_spawnp", ("touch", ["touch", "MARK"], {"PATH": "/usr/bin:/bin"})),
    "subprocess.call": ("subprocess call", (["touch", "MARK"],)),
    "subprocess.run": ("subprocess run", (["touch", "MARK"],)),
    "subprocess.Popen": ("subprocess Popen", (["touch", "MARK"],)),
    "subprocess.check_call": ("subprocess check_call", (["touch", "MARK"],)),
    "subprocess.check_output": ("subprocess check_output", (["touch", "MARK"],)),
    "subprocess.getoutput": ("subprocess getoutput", ("touch MARK",)),
    "subprocess.getstatusoutput": ("subprocess getstatusoutput", ("touch MARK",)),
    "builtins.eval": ("builtins eval", ("open('MARK', 'w')",)),
    "builtins.exec": ("builtins exec", ("open('MARK', 'w')",)),
    "builtins.open": ("builtins open", ("MARK", "w")),
    "io.open": ("io open", ("MARK", "w")),
    "codecs.open": ("codecs open", ("MARK", "w")),
    "gzip.open": ("gzip open", ("MARK", "w")),
    "bz2.open": ("bz2 open", ("MARK", "w")),
    "lzma.open": ("lzma open", ("MARK", "w")),
    "zipfile.ZipFile": ("zipfile ZipFile", ("MARK", "w")),
    "tarfile.open": ("tarfile open", ("MARK", "w")),
    "shelve.open": ("shelve open", ("MARK",)),
    "sqlite3.connect": ("sqlite3 connect", ("MARK",)),
    "logging.FileHandler": ("logging FileHandler", ("MARK",)),
    "shutil.copy": ("shutil copy", ("/etc/passwd", "MARK")),
    "shutil.copytree": ("shutil copytree", ("/proc/self/attr", "MARK")),
    "pathlib.Path.touch": ("pathlib Path.touch", ("PATH",)),
    "pathlib.Path.mkdir": ("pathlib Path.mkdir", ("PATH",)),
    "timeit.timeit": ("timeit timeit", ("open('MARK', 'w')", "pass", "TIMER", 1)),
    "cProfile.run": ("cProfile run", ("open('MARK', 'w')",)),
    "profile.run": ("profile run", ("open('MARK', 'w')",)),
    "pdb.run": ("bdb Bdb.run", ("BDB", "open('MARK', 'w')")),
    "code.interact": (
        "code InteractiveInterpreter.runsource",
        ("INTERPRETER", "open('MARK', 'w')"),
    ),
    "numpy.save": ("numpy save", ("MARK", 0)),
    "numpy.savetxt": ("numpy savetxt", ("MARK", [0])),
    "torch.save": ("torch save", (0, "MARK")),
}


def pickles(quick: bool) -> list[Figure]:
    """Every family under every name of a file of ours."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(dir=TMP) as name:
        template = Path(name) / "template"
        _make_output(template)
        executed, read = 0, 0
        for family in list(FAMILIES)[:: 5 if quick else 1]:
            place = Path(name) / family
            for reader in _poisoned(template, place, _gadget(family, place / "mark")):
                read += 1
                executed += _runs(reader, place / "mark")
        theirs = sum(_executed_by_pyro(family, Path(name)) for family in FAMILIES)
    return [
        Figure("malicious pickles under names of our files: not executed", read - executed, read,
               f"{len(FAMILIES)} families"),
        Figure("  the same files given to Pyro's ParamStoreDict.load: executed", theirs, None),
    ]  # fmt: skip


def configurations(quick: bool) -> list[Figure]:
    """Configurations that name what no configuration may call, or unfold without end."""
    found = 0
    with tempfile.TemporaryDirectory(dir=TMP) as name:
        mark = Path(name) / "mark"
        texts = [text.replace("MARK", str(mark)) for text in _CONFIGURATIONS]
        for i, text in enumerate(texts):
            path = Path(name) / f"{i}.yaml"
            path.write_text(text)
            said = io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                status = main(["fit", f"--config={path}", f"--output={name}/out", "--quiet"])
            found += status == 2 and not mark.exists() and "Traceback" not in said.getvalue()
    return [Figure("malicious configurations refused, nothing called", found, len(_CONFIGURATIONS))]


_CONFIGURATIONS = [
    "!!python/object/apply:os.system ['touch MARK']",
    "model: !!python/object/apply:os.system ['touch MARK']",
    "model: !!python/object/new:subprocess.Popen [[touch, MARK]]",
    "model: !!python/name:os.system",
    "model: !!python/module:os",
    "model: {name: os.system, command: touch MARK}",
    "model: {name: subprocess.Popen, args: [touch, MARK]}",
    "guide: {name: subprocess.call, args: [touch, MARK]}",
    "objective: {name: builtins.eval, source: \"open('MARK', 'w')\"}",
    "data: {name: subprocess.Popen, args: [touch, MARK]}",
    "data: {name: pathlib.Path.touch, self: MARK}",
    "evidence: {name: subprocess.Popen, args: [touch, MARK]}",
    "evidence: {name: logging.FileHandler, filename: MARK}",
    "optim: {name: subprocess.Popen, args: [touch, MARK]}",
    "scheduler: {name: subprocess.Popen, args: [touch, MARK]}",
    "model: {class_path: subprocess.Popen, init_args: {args: [touch, MARK]}}",
    "a: &a [1, 1]\n"
    + "".join(
        f"{two}: &{two} [*{one}, *{one}, *{one}, *{one}]\n"
        for one, two in zip("abcdefghijklmnop", "bcdefghijklmnopq", strict=True)
    ),
    "a: &a [*a]",
    "model: " + "[" * 5000,
]


def _make_output(path: Path) -> None:
    """An output folder with one finished run and a checkpoint in it."""
    from disks import SMALL

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["fit", "--quiet", f"--output={path}", *SMALL])
    (run,) = (path / "runs").iterdir()
    (run / "checkpoints").mkdir(exist_ok=True)


def _poisoned(template: Path, place: Path, gadget: bytes) -> list[Callable[[], Any]]:
    """Copies of an output folder with one file of each kind replaced, and what reads it."""
    import shutil

    readers: list[Callable[[], Any]] = []
    place.mkdir(parents=True)
    forms = {
        "record.json": gadget,
        "config.yaml": gadget,
        "metrics.csv": gadget,
        "arrays.npz": gadget,
        "arrays.npz ": _npz(gadget),
        "parameters.safetensors": gadget,
        "parameters.safetensors ": _safetensors(gadget),
        "parameters.json": gadget,
        "checkpoints/step-000000000001-000.safetensors": gadget,
        "checkpoints/step-000000000001-000.json": gadget,
        "../../results.json": gadget,
        "../../pyrovae.json": gadget,
    }
    for i, (file, content) in enumerate(forms.items()):
        output = place / str(i)
        shutil.copytree(template, output)
        (run,) = (output / "runs").iterdir()
        target = run / file.strip()
        target.write_bytes(content)
        if "checkpoints" in file:
            other = target.with_suffix(
                ".json" if target.suffix == ".safetensors" else ".safetensors"
            )
            other.write_bytes(gadget)
        readers.append(lambda at=output, of=run: _read_everything(at, of.name))
    return readers


def _read_everything(path: Path, name: str) -> None:
    output = OutputFolder.open(path)
    run = output.run(name)
    for read in (
        run.record,
        run.config,
        run.metrics,
        run.arrays,
        output.records,
        output.results,
        lambda: OutputFolder.claim(path),
        lambda: configuration(run),
        lambda: checkpoint.load(run.parameters_path),
        lambda: CheckpointFolder(run.checkpoints_path).newest(),
        lambda: report.table(output.records()),
        lambda: mapping((run.path / "config.yaml").read_text(errors="replace")),
        lambda: load(run),
    ):
        with contextlib.suppress(ValueError, OSError, TypeError, KeyError):
            read()


def _runs(read: Callable[[], Any], mark: Path) -> bool:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        read()
    return os.path.lexists(mark)


def _executed_by_pyro(family: str, path: Path) -> bool:
    """Whether Pyro's own way to load parameters runs it."""
    mark = path / f"theirs-{family}"
    file = path / f"theirs-{family}.save"
    file.write_bytes(_gadget(family, mark))

    def open_it() -> None:
        from pyro.params.param_store import ParamStoreDict

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        with contextlib.suppress(BaseException):
            ParamStoreDict().load(str(file))
        for _ in range(20):  # what it started may still be on its way
            if os.path.lexists(mark):
                break
            import time

            time.sleep(0.02)

    in_a_child(open_it)
    return os.path.lexists(mark)


def _gadget(family: str, mark: Path) -> bytes:
    """A pickle that calls what the family says; protocol 4, written by hand."""
    name, arguments = FAMILIES[family]
    module, _, attribute = name.partition(" ")
    body = b"".join(_argument(argument, str(mark)) for argument in arguments)
    return b"\x80\x04" + _global(module, attribute) + b"(" + body + b"tR."


def _global(module: str, attribute: str) -> bytes:
    return _text(module) + _text(attribute) + b"\x93"


def _argument(value: Any, mark: str) -> bytes:
    objects = {
        "PATH": _global("pathlib", "Path") + b"(" + _text(mark) + b"tR",
        "TIMER": _global("time", "time"),
        "BDB": _global("bdb", "Bdb") + b")R",
        "INTERPRETER": _global("code", "InteractiveInterpreter") + b")R",
    }
    if value in list(objects):
        return objects[value]
    if isinstance(value, str):
        return _text(value.replace("MARK", mark))
    if isinstance(value, list):
        return b"](" + b"".join(_argument(item, mark) for item in value) + b"e"
    return pickle.dumps(value, 4)[2:-1]


def _text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _npz(gadget: bytes) -> bytes:
    """An archive of arrays, one of them of Python objects: the gadget."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + gadget
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("test_images", "samples", "image_shape"):
            archive.writestr(f"{name}.npy", array)
    return buffer.getvalue()


def _safetensors(gadget: bytes) -> bytes:
    """A true safetensors file whose data are the gadget."""
    header = f'{{"x":{{"dtype":"U8","shape":[{len(gadget)}],"data_offsets":[0,{len(gadget)}]}}}}'
    return struct.pack("<Q", len(header)) + header.encode() + gadget
