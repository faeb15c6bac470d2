import pytest
import torch

from pyrovae.distributed.batches import OwnBatches, own_part
from pyrovae.distributed.group import Group
from pyrovae.sources.batches import Batches
from pyrovae.training.processes import Processes


def leg(ranks, state, steps, rows=103, batch_size=10):
    """The rows that so many processes see in some steps, and where they are then."""
    seen, shares = [], torch.zeros(steps)
    for rank in range(ranks):
        batches = OwnBatches(rows, batch_size, Group(rank, ranks), seed=5)
        if state is not None:
            batches.load_state_dict(state)
        start = batches.group.block(rows)[0]
        for step, index in zip(range(steps), batches):
            shares[step] += batches.share
            if batches.share:
                seen += (index + start).tolist()
        after = batches.state_dict()
    torch.testing.assert_close(shares, torch.ones(steps))
    return seen, after


@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_pass_taken_up_by_other_numbers_of_processes_leaves_out_no_row(first):
    one, state = leg(first, None, 2)
    two, state = leg(4, state, 3)
    three, state = leg(2, state, 4)
    four, state = leg(1, state, 2)
    assert sorted(one + two + three + four) == list(range(103))


@pytest.mark.parametrize("size", [5, 40])
@pytest.mark.parametrize("ranks", [2, 3])
def test_a_pass_begun_with_batches_of_another_size_leaves_out_no_row(size, ranks):
    one, state = leg(2, None, 4)
    two, after = leg(ranks, state, 7, batch_size=size)
    assert sorted(one + two) == list(range(103))
    begun = OwnBatches(103, size, Group(0, ranks))
    begun.load_state_dict(after)
    for _ in begun:
        pass
    assert len(begun) == -(-103 // size)


def test_a_pass_begun_by_one_process_alone_is_gone_on_with():
    alone = Batches(103, 10, seed=5)
    one = [number for _, index in zip(range(3), alone) for number in index.tolist()]
    two, _ = leg(4, alone.state_dict(), 8)
    assert sorted(one + two) == list(range(103))


def test_steps_are_as_many_for_all_and_each_pass_has_an_order_of_its_own():
    passes = []
    for rank in range(3):
        batches = OwnBatches(10, 2, Group(rank, 3))
        passes.append([[index.tolist() for index in batches] for _ in range(2)])
        assert [len(each) for each in passes[-1]] == [5, 5]
    assert any(first != second for first, second in passes)


def sizes(ranks, state=None):
    found = []
    for rank in range(ranks):
        batches = OwnBatches(40, 4, Group(rank, ranks))
        if state is not None:
            batches.load_state_dict(state)
        found.append([len(index) if batches.share else 0 for index in batches])
    return torch.tensor(found).sum(0).tolist()


def test_batches_of_fewer_rows_than_processes_are_as_large_as_was_asked():
    assert sizes(8) == [4] * 10
    begun = OwnBatches(40, 4, Group(0, 8))
    for _ in zip(range(3), begun):
        pass
    assert sizes(7, begun.state_dict()) == [4] * 7


def test_fewer_rows_than_processes_are_refused():
    with pytest.raises(ValueError, match="3 rows cannot be divided among 4 processes"):
        OwnBatches(3, 2, Group(0, 4))


@pytest.mark.parametrize(
    "wrong", [{"legs": [[2]]}, {"legs": [[2, 9], [2, 3]]}, {"ranks": "2"}, {"position": 99}]
)
def test_a_state_that_no_fit_writes_is_refused(wrong):
    batches = OwnBatches(103, 10, Group(0, 2))
    with pytest.raises(ValueError, match="saved position"):
        batches.load_state_dict({**batches.state_dict(), **wrong})


def test_parts_of_a_batch_are_the_batch():
    index = torch.arange(5)
    parts = [own_part(Group(rank, 4), index) for rank in range(4)]
    assert sorted(torch.cat([part for part, _ in parts]).tolist()) == index.tolist()
    assert sum(share for _, share in parts) == pytest.approx(1.0)
    assert own_part(Group(6, 8), index) == (index[:1], 0.0)


def test_rows_of_ones_own_are_not_taken_as_they_come():
    owners = Processes(Group(0, 2), ["guide.table"], 10, None)
    with pytest.raises(
        TypeError, match="processes that own rows take them in an order of their own"
    ):
        owners.batches(None, 2, seed=0, shuffle=False)
