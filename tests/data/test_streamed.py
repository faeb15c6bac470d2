import functools

import numpy as np
import pytest
import torch

from pyrovae import fit, guides, models
from pyrovae.data import Array, Streamed
from pyrovae.sources.forms import Form
from pyrovae.sources.row_files import open_rows
from pyrovae.sources.streamed_rows import StreamedRows

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=(3000, 4)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    for number, part in enumerate(np.array_split(ROWS, 3)):
        np.save(tmp_path / f"{number}.npy", part)
    return tmp_path


def streamed(folder, held=(), *, memory=2000, block=200):
    return StreamedRows(
        open_rows(folder),
        torch.tensor(held, dtype=torch.long),
        Form("real"),
        memory=memory,
        block=block,
    )


def test_rows_are_those_of_the_files_less_the_held_ones(folder):
    held = [0, 7, 8, 1500, 2999]
    rows = streamed(folder, held)
    left = np.delete(ROWS, held, axis=0)
    assert rows.shape == left.shape
    assert rows.cache.slots == 10
    for index in (torch.arange(len(left)), torch.randperm(len(left)), torch.tensor([2, 2, 2994])):
        assert np.array_equal(rows[index].numpy(), left[index.numpy()])


def test_a_pass_reads_each_block_about_once(folder, monkeypatch):
    rows, read = streamed(folder, [3, 4]), []
    monkeypatch.setattr(rows.cache, "read", lambda *part: read.append(part) or rows.stored(*part))
    order = rows.order(0, 0)
    seen = [rows[order[start : start + 64]] for start in range(0, len(rows), 64)]
    assert len(torch.cat(seen)) == len(rows)
    assert len(set(read)) == rows.cache.blocks
    assert len(read) < 1.1 * rows.cache.blocks  # some twice, where a batch lies in two windows


def test_rows_handed_out_to_several_share_the_blocks_in_memory(folder):
    rows, index = streamed(folder), torch.arange(3000)
    for _ in range(20):
        there = rows.to(torch.device("cpu"))
        part = index[torch.randperm(3000, generator=torch.Generator().manual_seed(1))][:70]
        assert np.array_equal(there[part].numpy(), ROWS[part])
        assert np.array_equal(rows[index[:500]].numpy(), ROWS[:500])


def test_parts_are_disjoint_fixed_by_the_split_seed_and_of_the_files(folder):
    data = Streamed(folder, validation=50, test=60, split_seed=4)
    train = data.train.stored[torch.arange(len(data.train))]
    parts = torch.cat([train, data.validation.stored, data.test.stored])
    assert [len(data.validation), len(data.test)] == [50, 60]
    assert sorted(map(tuple, parts.tolist())) == sorted(map(tuple, ROWS.tolist()))
    same, other = (Streamed(folder, validation=50, test=60, split_seed=s) for s in (4, 5))
    assert torch.equal(same.test.stored, data.test.stored)
    assert not torch.equal(other.test.stored, data.test.stored)
    assert data.fixed("train").shape == (2890, 4)
    assert data.describe()["rows"] == {"train": 2890, "validation": 50, "test": 60}


def test_forms_are_those_of_an_array(tmp_path):
    grey = GENERATOR.integers(0, 256, (40, 6), dtype=np.uint8)
    np.save(tmp_path / "grey.npy", grey)
    for options in ({"binarisation": "threshold"}, {"binarisation": "dynamic"}):
        data = Streamed(tmp_path, "binary", levels=256, validation=5, test=5, **options)
        whole = Array(grey, "binary", levels=256, **options)
        x = data.visit(data.train.stored[torch.arange(30)], torch.Generator().manual_seed(0))
        assert x.unique().tolist() == [0, 1]
        assert data.train.stored.dtype is whole.train.stored.dtype is torch.uint8
    with pytest.raises(TypeError, match="static binarisation"):
        Streamed(tmp_path, "binary", levels=256, binarisation="static")


@pytest.mark.filterwarnings("error")
def test_bad_values_are_named_before_the_fit_if_asked_and_as_they_are_read_otherwise(tmp_path):
    named = (
        "row 1234 of the files holds NaN.*not streamed",
        "rows 0 to 2999 .* hold infinite values",
        "rows 0 to 2999 .* or some beyond single precision",
    )
    for value, sentence in zip((np.nan, np.inf, 1e300), named, strict=True):
        bad = ROWS.astype(np.float64)
        bad[1234, 2] = value
        np.save(tmp_path / "rows.npy", bad)
        with pytest.raises(ValueError, match=sentence):
            Streamed(tmp_path, validation=5, test=5, scan=True)
        data = Streamed(tmp_path, validation=5, test=5)
        with pytest.raises(ValueError, match=sentence):
            data.train.stored[torch.tensor([0])]
    with pytest.raises(ValueError, match="validation=2000 and test=1000 .* leave some"):
        Streamed(tmp_path, validation=2000)


def fitted(data, folder=None, made=lambda: models.ProbabilisticPCA(4, latent=2), **options):
    torch.manual_seed(0)
    model = made()
    guide = guides.Amortized(4, 2, hidden=())
    adam = functools.partial(torch.optim.Adam, lr=1e-2)
    options = {"epochs": 2, "batch_size": 64, "progress": False, "run_dir": folder} | options
    return fit(model, guide, data, optim=adam, **options), model


def test_a_fit_of_rows_on_the_disk_is_the_fit_of_the_same_rows_in_memory(folder, monkeypatch):
    data = Streamed(folder, validation=50, test=50)
    there, one = fitted(data)
    # The same rows as a tensor, in the same order.
    whole = data.train.stored[torch.arange(len(data.train))]
    monkeypatch.setattr("pyrovae.training.processes.own_orders", lambda _: data.train.stored.order)
    here, other = fitted(whole, validation=data.fixed("validation"))
    assert there.train_bound.tolist() == here.train_bound.tolist()
    assert there.validation_bound.tolist() == here.validation_bound.tolist()
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_other_data_or_another_memory_is_named_before_a_fit_goes_on(folder, tmp_path):
    data = Streamed(folder, validation=50, test=50)
    fitted(data, tmp_path / "run")
    again, _ = fitted(data, tmp_path / "run", resume=True)
    assert len(again.epoch) == 2
    np.save(folder / "2.npy", np.zeros((1000, 4), np.float32))
    with pytest.raises(ValueError, match="cannot go on to the bit.*data:"):
        fitted(Streamed(folder, validation=50, test=50), tmp_path / "run", resume=True)


class Logged(models.ProbabilisticPCA):
    """Notes what each step saw; stops like a process that is killed before one of them."""

    def __init__(self, until=None):
        super().__init__(4, latent=2)
        self.seen, self.until = [], until

    def forward(self, x, index=None, size=None):
        if self.training and torch.is_grad_enabled():
            if len(self.seen) == self.until:
                raise KeyboardInterrupt
            self.seen.append(x.tolist())
        return super().forward(x, index, size)


def test_a_fit_that_was_stopped_goes_on_with_the_rows_that_it_would_have_seen(folder, tmp_path):
    data = Streamed(folder, validation=50, test=50)
    rows = data.train.stored  # in small blocks, so that a pass has many windows
    rows.__init__(rows.files, rows.held, rows.form, memory=4000, block=400)
    assert rows.cache.slots < rows.cache.blocks // 5
    options = {"checkpoint_steps": 10, "resume": True, "level": "eager"}
    _, whole = fitted(data, tmp_path / "whole", Logged, **options)
    for until in (28, 60, 75):
        with pytest.raises(KeyboardInterrupt):
            fitted(data, tmp_path / f"{until}", lambda until=until: Logged(until), **options)
        _, rest = fitted(data, tmp_path / f"{until}", Logged, **options)
        assert len(rest.seen) < len(whole.seen)
        assert rest.seen[-15:] == whole.seen[-15:]
        assert [p.tolist() for p in rest.parameters()] == [p.tolist() for p in whole.parameters()]
