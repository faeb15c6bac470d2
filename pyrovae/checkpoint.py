"""The state of a run on disk: a flat dictionary of tensors, and JSON beside it.

``NAME.safetensors`` holds the tensors and nothing else; ``NAME.json``, written last, is the manifest:
the size and SHA-256 of the tensor file, every tensor's shape and dtype, the metadata, and the SHA-256 of
all that. A file that does not match is refused before a tensor is built, and nothing that is read can run
code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as build_tensors
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from pyrovae.storage.files import parse_json, read_regular, write_atomically

SCHEMA = 1


def save(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write a state, so that a crash leaves the whole of it or none of it.

    Args:
        path: the tensor file, ``NAME.safetensors``; the manifest lies beside it as ``NAME.json``. Give
            every checkpoint of a run a name of its own: overwriting one loses it if the machine stops
            between the two files.
        tensors: name -> tensor, any shape, dtype and device.
        metadata: whatever JSON holds.

    Raises:
        OSError: the folder cannot be written.
        TypeError: metadata that JSON cannot hold.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> save(f"{folder.name}/state.safetensors", {"loc": torch.zeros(2)}, {"step": 3})
        >>> load(f"{folder.name}/state.safetensors")
        ({'loc': tensor([0., 0.])}, {'step': 3})
    """
    target = Path(path)
    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = to_bytes(ready)
    manifest = {
        "schema": SCHEMA,
        "file": target.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "tensors": {name: _describe(tensor) for name, tensor in ready.items()},
        "metadata": dict(metadata),
    }
    text = _signed(manifest)  # refuse what JSON cannot hold before anything is written
    target.with_suffix(".json").unlink(missing_ok=True)
    write_atomically(target, content)
    write_atomically(target.with_suffix(".json"), text)


def load(
    path: str | os.PathLike[str], *, most: int | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a state that `save` wrote.

    Args:
        path: the tensor file.
        most: bytes that it may have; a larger one is refused unread.

    Returns:
        The tensors, on the CPU, and the metadata.

    Raises:
        ValueError: a file is missing, damaged, of another version, or not a regular file.
        OSError: a file cannot be read.
    """
    target = Path(path)
    manifest = _read_manifest(target)
    if most is not None and manifest["bytes"] > most:
        raise ValueError(
            f"{target} has {manifest['bytes']} bytes, where at most {most} make sense."
        )
    content = read_regular(target, exactly=manifest["bytes"])
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise ValueError(
            f"{target} is damaged: its SHA-256 is not the one in {target.with_suffix('.json').name}. "
            "Nothing of it was loaded; use another checkpoint."
        )
    try:
        tensors = build_tensors(content)
    except Exception as error:  # safetensors raises several kinds of its own
        raise ValueError(f"{target} is not a safetensors file: {error}.") from error
    if {name: _describe(tensor) for name, tensor in tensors.items()} != manifest["tensors"]:
        raise ValueError(f"{target} holds other tensors than its manifest lists.")
    return tensors, manifest["metadata"]


def parameters(**modules: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of modules, flat, each under its module's name.

    What two modules share (a guide that holds its model) is listed once, under the first.

    >>> sorted(parameters(model=nn.Linear(2, 1), guide=nn.Linear(1, 1, bias=False)))
    ['guide.weight', 'model.bias', 'model.weight']
    """
    return dict(_named(modules))


def restore(tensors: Mapping[str, Tensor], **modules: nn.Module) -> None:
    """Put tensors back into the modules that `parameters` took them from.

    Args:
        tensors: name -> tensor; only names that start with a module's name and a dot are looked at.
        **modules: the same modules, under the same names.

    Raises:
        ValueError: they are of another model (the sentence lists the names and shapes that differ), or
            parameters among them are no numbers.
    """
    own = parameters(**modules)
    came = {k: v for k, v in tensors.items() if k.partition(".")[0] in modules}
    check_same(came, own)
    check_finite({name: came[name] for name, tensor in own.items() if tensor.requires_grad})
    put_back(own, came)


@torch.no_grad()
def put_back(own: Mapping[str, Tensor], came: Mapping[str, Tensor]) -> None:
    """Write tensors into those of the same names, in place."""
    for name, tensor in own.items():
        tensor.copy_(came[name])


def check_same(
    came: Mapping[str, Tensor], own: Mapping[str, Tensor], *, convert: bool = False
) -> None:
    """Refuse tensors that are not those of these programs, by names, shapes and types.

    Args:
        came: those that were saved.
        own: those of the programs.
        convert: whether another precision will do.

    Raises:
        ValueError: the sentence lists what differs.
    """
    differing = [f"{name} is not in the checkpoint" for name in own if name not in came]
    differing += [f"{name} is only in the checkpoint" for name in came if name not in own]
    for name in own:
        here, there = own[name], came.get(name, own[name])
        if here.shape != there.shape:
            shapes = f"{tuple(there.shape)} there and {tuple(here.shape)} here"
            differing.append(f"{name} has shape {shapes}")
        elif here.dtype != there.dtype and not convert:
            differing.append(f"{name} is {there.dtype} there and {here.dtype} here")
    if differing:
        more = f"; and {len(differing) - 8} more" if len(differing) > 8 else ""
        raise ValueError(
            "The checkpoint is of another model or guide, or of other options: "
            f"{'; '.join(differing[:8])}{more}."
        )


def check_finite(came: Mapping[str, Tensor]) -> None:
    """Refuse parameters that are infinite or not numbers.

    Raises:
        ValueError: names the first.
    """
    for name, tensor in came.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(
                f"The checkpoint holds numbers that are infinite or not numbers in {name}; nothing of this "
                "package writes such a one. Use another."
            )


def _named(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    seen: set[int] = set()
    for prefix, module in modules.items():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield f"{prefix}.{name}", tensor


def _signed(manifest: Mapping[str, Any]) -> bytes:
    """A manifest as it is written: one way only, and its own SHA-256 at the end."""
    digest = hashlib.sha256(_text(manifest).encode()).hexdigest()
    return (_text({**manifest, "manifest_sha256": digest}) + "\n").encode()


def _text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=1, allow_nan=False)


def _describe(tensor: Tensor) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}


def _read_manifest(target: Path) -> dict[str, Any]:
    path = target.with_suffix(".json")
    if not os.path.lexists(target) or not os.path.lexists(path):
        raise ValueError(
            f"There is no checkpoint {target}: it takes that file and {path.name} beside it."
        )
    content = read_regular(path)
    manifest = parse_json(content, path)
    signed = dict(manifest) if isinstance(manifest, dict) else {}
    signed.pop("manifest_sha256", None)
    fields = {"bytes": int, "sha256": str, "tensors": dict, "metadata": dict}
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} is not a checkpoint of this version (schema {SCHEMA}): load it with the version "
            "of pyrovae that wrote it."
        )
    for name, kind in fields.items():
        if not isinstance(manifest.get(name), kind):
            raise ValueError(
                f"{path} is damaged: its entry {name!r} is missing or no {kind.__name__}."
            )
    if _signed(signed) != content:
        raise ValueError(f"{path} is damaged: its SHA-256 is not the one that it ends with.")
    if manifest.get("file") != target.name:
        raise ValueError(f"{path} is the manifest of another file, {manifest.get('file')!r}.")
    return manifest
