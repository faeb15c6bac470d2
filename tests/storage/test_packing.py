import json
from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from pyrovae.storage.packing import pack, referred, unpack

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
)
KEYS = st.text(max_size=5) | st.integers()
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(NESTED)
def test_what_is_unpacked_is_what_was_packed(value):
    tensors = {}
    packed = json.loads(json.dumps(pack(value, tensors, "x"), allow_nan=False))
    assert unpack(packed, tensors) == value
    assert repr(unpack(packed, tensors)) == repr(value)


def test_tensors_are_handed_over_and_not_copied():
    tensors = {}
    own = torch.randn(3)
    packed = pack({"a": [own, np.arange(2)], "n": Counter({3: 1})}, tensors, "x")
    assert tensors["x.a.0"] is own
    assert referred(packed) == set(tensors) == {"x.a.0", "x.a.1"}
    found = unpack(json.loads(json.dumps(packed)), tensors)
    assert found["a"][0] is own
    assert found["n"] == Counter({3: 1})


def test_what_cannot_be_saved_is_named():
    with pytest.raises(TypeError, match=r"x\.a\.1 holds a function"):
        pack({"a": [1, lambda: 0]}, {}, "x")


@pytest.mark.parametrize(
    "forged",
    [
        {"$tensor": "missing"},
        {"$tensor": ["x"]},
        {"$float": "1e5"},
        {"$float": 3},
        {"$tuple": 3},
        {"$mapping": [[1]]},
        {"$mapping": [[[], 1]]},
        {"$counter": {}},
        {"$anything": 1},
        [{"$x": []}],
    ],
)
def test_what_nobody_packed_is_refused(forged):
    with pytest.raises(ValueError, match="the saved state holds"):
        unpack(forged, {"x": torch.zeros(1)})


def test_nesting_has_an_end():
    value = 1
    for _ in range(100):
        value = [value]
    with pytest.raises(ValueError, match="nested more than"):
        unpack(value, {})
