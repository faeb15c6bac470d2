import json

import pytest
import torch
from torch import nn

from pyrovae import checkpoint
from pyrovae.checkpoint import _signed, load, parameters, restore, save
from pyrovae.storage.files import write_atomically


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "state.safetensors"
    tensors = {"model.loc": torch.arange(6.0).reshape(2, 3), "step": torch.tensor(7)}
    save(path, tensors, {"epoch": 3, "best": -1.5})
    return path


def test_what_is_read_is_what_was_written(tmp_path):
    tensors = {
        "a": torch.randn(3, 4, dtype=torch.float64),
        "b": torch.tensor([1, 2], dtype=torch.long),
        "c": torch.zeros(0, 5),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
    }
    save(tmp_path / "s.safetensors", tensors, {"nested": {"list": [1, None, "é"]}})
    read, metadata = load(tmp_path / "s.safetensors")
    assert metadata == {"nested": {"list": [1, None, "é"]}}
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_tensors_that_share_memory_can_be_saved(tmp_path):
    whole = torch.arange(4.0)
    save(tmp_path / "s.safetensors", {"whole": whole, "half": whole[:2]}, {})
    assert torch.equal(load(tmp_path / "s.safetensors")[0]["half"], whole[:2])


def test_every_truncation_is_refused(saved):
    content = saved.read_bytes()
    for length in range(len(content)):
        saved.write_bytes(content[:length])
        with pytest.raises(ValueError, match="is damaged"):
            load(saved)


def test_every_flipped_byte_is_refused(saved):
    content = saved.read_bytes()
    for position in range(len(content)):
        flipped = bytes([content[position] ^ 1])
        saved.write_bytes(content[:position] + flipped + content[position + 1 :])
        with pytest.raises(ValueError, match="SHA-256"):
            load(saved)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema": 2}, "not a checkpoint of this version"),
        ({"sha256": None}, "its entry 'sha256' is missing"),
        ({"bytes": "9"}, "its entry 'bytes' is missing"),
        ({"file": "../other.safetensors"}, "manifest of another file"),
        ({"tensors": {}}, "holds other tensors than its manifest lists"),
    ],
)
def test_a_changed_manifest_is_refused(saved, change, sentence):
    path = saved.with_suffix(".json")
    manifest = json.loads(path.read_text()) | change
    del manifest["manifest_sha256"]
    path.write_bytes(_signed(manifest))
    with pytest.raises(ValueError, match=sentence):
        load(saved)


def test_every_flipped_byte_of_the_manifest_is_refused(saved):
    path = saved.with_suffix(".json")
    content = path.read_bytes()
    for position in range(len(content)):
        flipped = bytes([content[position] ^ 1])
        path.write_bytes(content[:position] + flipped + content[position + 1 :])
        with pytest.raises(ValueError, match="damaged|not readable JSON|not a checkpoint"):
            load(saved)


def test_what_is_larger_than_makes_sense_is_refused_unread(saved):
    with pytest.raises(ValueError, match="at most 10 make sense"):
        load(saved, most=10)


def test_a_file_without_its_manifest_is_no_checkpoint(saved):
    saved.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match="There is no checkpoint"):
        load(saved)


def test_a_link_is_not_followed(saved, tmp_path):
    moved = saved.rename(tmp_path / "elsewhere")
    saved.symlink_to(moved)
    with pytest.raises(ValueError, match="is a link"):
        load(saved)


def test_metadata_that_json_cannot_hold_is_refused_before_anything_is_written(saved):
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        save(saved, {"other": torch.zeros(1)}, {"what": object()})
    assert saved.read_bytes() == before
    assert load(saved)[1] == {"epoch": 3, "best": -1.5}


def test_nothing_temporary_is_left(saved):
    assert sorted(p.name for p in saved.parent.iterdir()) == ["state.json", "state.safetensors"]


def test_restore_puts_parameters_and_buffers_back():
    one, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    nn.init.normal_(one.weight)
    one(torch.randn(5, 3))
    state = {name: tensor.clone() for name, tensor in parameters(net=one).items()}
    restore(state, net=other)
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values())
    )


def test_shared_parameters_are_listed_once():
    model = nn.Linear(2, 2)
    guide = nn.Sequential(model, nn.Linear(2, 1))
    assert sorted(parameters(model=model, guide=guide)) == [
        "guide.1.bias",
        "guide.1.weight",
        "model.bias",
        "model.weight",
    ]


def test_a_checkpoint_of_another_model_is_refused_and_changes_nothing():
    mine, theirs = nn.Linear(2, 3), nn.Linear(2, 4, bias=False)
    before = mine.weight.clone()
    with pytest.raises(ValueError, match="another model") as caught:
        restore(parameters(model=theirs), model=mine)
    assert "model.bias is not in the checkpoint" in str(caught.value)
    assert "model.weight has shape (4, 2) there and (3, 2) here" in str(caught.value)
    assert torch.equal(mine.weight, before)


def test_the_manifest_is_written_last(tmp_path, monkeypatch):
    written = []

    def noted(path, content):
        written.append(path.suffix)
        write_atomically(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", noted)
    checkpoint.save(tmp_path / "a.safetensors", {"x": torch.zeros(2)}, {})
    assert written == [".safetensors", ".json"]
