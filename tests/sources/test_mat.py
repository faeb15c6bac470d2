import io

import numpy as np
import pytest
import scipy.io

from pyrovae.sources.mat import read_mat, upright


def mat(**arrays):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays)
    return buffer.getvalue()


def test_upright_undoes_storing_by_columns():
    images = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    stored = np.stack([image.flatten(order="F") for image in images])
    assert np.array_equal(upright(stored, 3, 5).reshape(2, 3, 5), images)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a whole MATLAB file"),
        (b"<html></html>" * 50, "not a whole MATLAB file"),
        (mat(a=np.ones((50, 60)))[:-2000], "not a whole MATLAB file"),
        (mat(b=np.eye(2)), "no variable 'a'"),
        (mat(a=np.eye(3)), r"the shape of 'a' is \(3, 3\), expected \(2, -1\)"),
        (mat(a=np.array([["ab"], ["cd"]], dtype=object)), "something else than finite numbers"),
        (mat(a=np.full((2, 2), np.nan)), "something else than finite numbers"),
    ],
)
def test_what_is_not_as_it_should_be_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        read_mat(content, {"a": (2, -1)})
