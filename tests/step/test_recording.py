"""What is taken for a draw of the program."""

import random
import threading

import pytest
import torch

from pyrovae.step.recording import CannotRecordError, record


@pytest.fixture
def another_thread():
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield
    over.set()
    thread.join()


def test_draws_of_another_thread_are_not_the_programs(another_thread):
    x, calls = torch.ones(3), []

    def function():
        calls.append(1)
        if len(calls) < 3:
            other = threading.Thread(target=random.random)
            other.start()
            other.join()
        return [x * torch.rand(3)]

    torch.manual_seed(0)
    recording, outputs = record(function, [x], [])
    assert len(calls) == 3
    torch.manual_seed(0)
    expected = torch.rand(3)
    assert torch.equal(outputs[0], expected)
    torch.manual_seed(0)
    assert torch.equal(recording([x])[0], expected)


def test_draws_of_the_program_are_its_own_however_often_it_is_run(another_thread):
    x = torch.ones(3)
    with pytest.raises(CannotRecordError, match="Python's or NumPy's"):
        record(lambda: [x * random.random()], [x], [])
