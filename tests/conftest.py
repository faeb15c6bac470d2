"""What every test starts from: one thread, no parameters left by another test, a known seed."""

import warnings

import hypothesis
import pyro
import pytest
import torch

# ArviZ writes the day of its first import into a file. Done here, where pytest starts, it is done before
# there are workers, which would take the half-written file away from each other.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import arviz  # noqa: F401

torch.set_num_threads(1)
hypothesis.settings.register_profile("pyrovae", deadline=None, max_examples=25, database=None)
hypothesis.settings.load_profile("pyrovae")


@pytest.fixture(autouse=True)
def fresh_state():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    yield
    pyro.clear_param_store()
