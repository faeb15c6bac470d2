import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrovae.sources.batches import Batches

sizes = st.integers(1, 40)


@given(size=sizes, batch_size=sizes, seed=st.integers(0, 5))
def test_a_pass_visits_every_row_once(size, batch_size, seed):
    batches = Batches(size, batch_size, seed=seed)
    index = list(batches)
    assert len(index) == len(batches)
    assert all(len(i) == batch_size for i in index[:-1])
    assert sorted(torch.cat(index).tolist()) == list(range(size))
    assert (batches.epoch, batches.position) == (1, 0)


@given(size=sizes, batch_size=sizes, stop=st.integers(0, 60))
def test_a_run_taken_up_again_sees_the_batches_it_would_have_seen(size, batch_size, stop):
    def stream(batches, count):
        seen = []
        while len(seen) < count:
            for index in batches:
                seen.append((index.tolist(), float(torch.rand((), generator=batches.generator()))))
                if len(seen) == count:
                    break
        return seen

    whole = stream(Batches(size, batch_size, seed=1), stop + 5)
    first, second = Batches(size, batch_size, seed=1), Batches(size, batch_size, seed=9)
    before = stream(first, stop)
    second.load_state_dict(first.state_dict())
    assert before + stream(second, 5) == whole


def test_passes_and_seeds_differ():
    batches = Batches(100, 100, seed=0)
    orders = [tuple(next(iter(b)).tolist()) for b in (batches, Batches(100, 100, seed=1))]
    orders += [tuple(index.tolist()) for _ in range(2) for index in batches]
    assert len(set(orders)) >= 3


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    batches = Batches(10, 3)
    assert len(list(batches)) == 4
    batches.generator()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("size", "batch_size"), [(0, 1), (1, 0), (-3, 2)])
def test_there_is_at_least_one_row_and_one_row_in_a_batch(size, batch_size):
    with pytest.raises(ValueError, match="at least"):
        Batches(size, batch_size)


def test_the_position_of_another_data_set_is_refused():
    with pytest.raises(ValueError, match="10 rows, this one has 11"):
        Batches(11, 2).load_state_dict(Batches(10, 2).state_dict())
