"""Named arrays under ArviZ 0.x and 1.x alike.

Nothing here needs torch, so that the file runs by itself where only ArviZ and pytest are installed:
``python -m pytest --noconftest -p no:cacheprovider tests/test_arviz_bridge.py``.
"""

import warnings

import numpy as np
import pytest

from pyrovae.arviz_bridge import inference_data

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz

OLD = arviz.__version__.startswith("0.")
CHAINS, DRAWS, ROWS, FEATURES = 4, 50, 6, 3


def groups(shift=0.0):
    rng = np.random.default_rng(0)
    size = (CHAINS, DRAWS, ROWS)
    drawn = ("chain", "draw", "row")
    x = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    predicted = rng.normal(size=(*size, FEATURES)).astype(np.float32)
    return {
        "posterior": {"z": ((*drawn, "z_dim"), rng.normal(size=(*size, 2)) + shift)},
        "posterior_predictive": {"x": ((*drawn, "feature"), predicted)},
        "log_likelihood": {"x": (drawn, rng.normal(size=size) - 5 - shift)},
        "sample_stats": {
            "log_weights": (drawn, rng.normal(size=size)),
            "k_hat": (("row",), rng.uniform(0, 1, ROWS)),
        },
        "prior": {"z": ((*drawn, "z_dim"), rng.normal(size=(*size, 2)))},
        "prior_predictive": {"x": ((*drawn, "feature"), predicted[::-1])},
        "observed_data": {"x": (("row", "feature"), x)},
    }


COORDS = {"row": [f"image {i}" for i in range(ROWS)]}


@pytest.fixture
def data():
    return inference_data(groups(), coords=COORDS, attributes={"model": "VAE"})


def test_every_group_has_named_dimensions_and_labels(data):
    found = data.groups() if OLD else [name.strip("/") for name in data.groups if name != "/"]
    assert set(found) == set(groups())
    assert data["posterior"]["z"].dims == ("chain", "draw", "row", "z_dim")
    assert list(data["posterior"]["row"].values) == COORDS["row"]
    assert data["sample_stats"]["k_hat"].dims == ("row",)
    assert data["observed_data"]["x"].dims == ("row", "feature")
    assert data["posterior"].attrs["model"] == "VAE"
    assert data["posterior_predictive"]["x"].dtype == np.float32


def test_the_round_trip_through_a_file_is_exact(data, tmp_path):
    path = tmp_path / "data.nc"
    data.to_netcdf(str(path))
    again = arviz.from_netcdf(str(path))
    for group, variables in groups().items():
        for name, (dims, array) in variables.items():
            back = again[group][name]
            assert back.dims == tuple(dims)
            assert back.dtype == array.dtype
            np.testing.assert_array_equal(back.values, array)
    assert list(again["posterior"]["row"].values) == COORDS["row"]


@pytest.mark.filterwarnings("ignore")
def test_arvizs_tables_work_as_they_stand(data):
    table = arviz.summary(data)
    assert len(table) == ROWS * 2
    compared = arviz.compare({"one": data, "other": inference_data(groups(1.0))})
    assert compared.index[0] == "one"
    assert arviz.loo(data, pointwise=True).elpd_loo if OLD else arviz.loo(data).elpd


@pytest.mark.filterwarnings("ignore")
def test_arvizs_plots_work_as_they_stand(data):
    import matplotlib

    matplotlib.use("agg")
    if OLD:
        arviz.plot_posterior(data, coords={"row": ["image 0"]})
        arviz.plot_khat(data.sample_stats.k_hat)
        arviz.plot_khat(arviz.loo(data, pointwise=True))
        arviz.plot_ppc(data, num_pp_samples=5)
    else:
        arviz.plot_dist(data, coords={"row": ["image 0"]}, backend="matplotlib")
        arviz.plot_khat(arviz.loo(data, pointwise=True), backend="matplotlib")
        arviz.plot_ppc_dist(data, num_samples=5, backend="matplotlib")
    matplotlib.pyplot.close("all")


def test_what_arviz_would_misread_is_refused():
    array = np.zeros((2, 3))
    with pytest.raises(
        ValueError, match="'posteriors' is no group of ArviZ's: the known ones are post"
    ):
        inference_data({"posteriors": {}})
    with pytest.raises(ValueError, match="name each dimension"):
        inference_data({"posterior": {"z": (("row", "draw"), array)}})
    with pytest.raises(ValueError, match="name each dimension"):
        inference_data({"observed_data": {"x": (("row",), array)}})
    with pytest.raises(ValueError, match="'row' has 2 entries and 1 labels"):
        inference_data({"observed_data": {"x": (("row", "f"), array)}}, coords={"row": ["a"]})
    two = {"x": (("row", "f"), array), "y": (("row",), np.zeros(5))}
    with pytest.raises(ValueError, match="'row' of observed_data/y has 5 and 2 entries"):
        inference_data({"observed_data": two})
