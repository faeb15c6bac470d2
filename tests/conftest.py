"""What every test starts from: one thread, no parameters left by another test, a known seed."""

import hypothesis
import pyro
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("pyrovae", deadline=None, max_examples=25, database=None)
hypothesis.settings.load_profile("pyrovae")


@pytest.fixture(autouse=True)
def fresh_state():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    yield
    pyro.clear_param_store()
