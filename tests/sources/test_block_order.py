import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrovae.sources.batches import Batches
from pyrovae.sources.block_order import BlockOrder, even_edges


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.integers(1, 30), st.integers(1, 9), st.integers(0, 3), st.data())
def test_every_row_comes_once_and_a_part_is_the_part_of_the_whole(
    rows, block, together, epoch, data
):
    edges = even_edges(rows, block)
    whole = BlockOrder(edges, together, seed=3, epoch=epoch)[0:rows]
    assert sorted(whole.tolist()) == list(range(rows))
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    part = BlockOrder(edges, together, seed=3, epoch=epoch)[start:stop]
    assert part.tolist() == whole[start:stop].tolist()


def test_a_window_holds_few_blocks_from_everywhere():
    order = BlockOrder(even_edges(1000, 10), 5, seed=0, epoch=0)
    windows = [set((order[i : i + 50] // 10).tolist()) for i in range(0, 1000, 50)]
    assert all(len(window) == 5 for window in windows)
    assert sum(max(window) - min(window) > 20 for window in windows) > 15


def test_passes_and_seeds_have_orders_of_their_own():
    edges = even_edges(100, 7)
    made = [BlockOrder(edges, 3, seed=s, epoch=e)[0:100].tolist() for s in (0, 1) for e in (0, 1)]
    assert len({tuple(order) for order in made}) == 4


def test_all_blocks_together_are_an_ordinary_shuffle():
    order = BlockOrder(even_edges(20_000, 100), 200, seed=0, epoch=0)[0:20_000]
    # Of a random order, the share of rows that follow on their neighbour has the mean 1 / N.
    assert ((order[1:] - order[:-1]) == 1).float().mean() < 1e-3
    place = torch.argsort(order).double()
    rank = torch.corrcoef(torch.stack([place, torch.arange(20_000.0).double()]))[0, 1]
    assert abs(float(rank)) < 5 / 20_000**0.5


def test_blocks_of_no_rows_are_passed_over():
    order = BlockOrder(torch.tensor([0, 3, 3, 5]), 1, seed=0, epoch=0)
    assert sorted(order[0:5].tolist()) == [0, 1, 2, 3, 4]


def test_batches_go_on_in_the_middle_of_a_window():
    def made():
        return Batches(
            100, 16, seed=5, orders=lambda s, e: BlockOrder(even_edges(100, 7), 3, seed=s, epoch=e)
        )

    first = made()
    seen = [index.tolist() for index in first] + [index.tolist() for index in first]
    second = made()
    passing = iter(second)
    for _ in range(3):
        next(passing)
    third = made()
    third.load_state_dict(second.state_dict())
    rest = [index.tolist() for index in third] + [index.tolist() for index in third]
    assert rest == seen[3:]
