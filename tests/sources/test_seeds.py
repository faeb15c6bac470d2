import pytest
import torch

from pyrovae.sources.seeds import generator_from


def test_streams_differ_by_every_number_and_by_how_many_there_are():
    seeds = [(0,), (0, 0), (0, 0, 0), (1,), (0, 1), (1, 0), (2**40, 3)]
    firsts = {
        float(torch.rand((), generator=generator_from(*s), dtype=torch.float64)) for s in seeds
    }
    assert len(firsts) == len(seeds)


def test_generator_from_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    torch.rand(3, generator=generator_from(3))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("seed", [0.5, "1", True, None])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(TypeError, match="whole number"):
        generator_from(seed)


def test_a_seed_is_not_negative():
    with pytest.raises(ValueError, match="negative"):
        generator_from(-1)
