"""Sample data: it is there, small, the same in both libraries, and its labels are true."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

import almenara as al
from almenara.datasets.make import COLUMNS, plant_csv
from almenara.model.errors import AlmenaraError


def test_the_names_are_these() -> None:
    assert al.datasets.names() == ["load", "plant"]
    assert all(al.datasets.about(name) for name in al.datasets.names())
    with pytest.raises(AlmenaraError, match="datasets: found 'plants', expected one of load, plant"):
        al.datasets.load("plants")
    with pytest.raises(AlmenaraError, match="frame: found 'dask'"):
        al.datasets.load("plant", "dask")


def test_they_are_small() -> None:
    assert sum(al.datasets.path(name).stat().st_size for name in al.datasets.names()) < 300_000


def test_the_plant_is_made_by_its_program() -> None:
    kept = np.genfromtxt(al.datasets.path("plant"), delimiter=",", skip_header=1)[:, 1:]
    made = np.genfromtxt(plant_csv().splitlines(), delimiter=",", skip_header=1)[:, 1:]
    np.testing.assert_allclose(kept, made, rtol=1e-4)
    assert (
        gzip.decompress(al.datasets.path("plant").read_bytes()).decode().splitlines()[0] == plant_csv().split("\n")[0]
    )


@pytest.mark.parametrize("name", ["load", "plant"])
def test_pandas_and_polars_get_the_same(name: str) -> None:
    pandas, polars = al.datasets.load(name), al.datasets.load(name, "polars")
    assert polars.columns == ["time", *pandas.columns]
    assert pandas.index.is_monotonic_increasing
    assert pandas.index.is_unique
    assert (polars["time"].dt.epoch("us").to_numpy() == pandas.index.as_unit("us").asi8).all()
    for title in pandas.columns:
        np.testing.assert_array_equal(polars[title].to_numpy(), pandas[title].to_numpy())


def test_the_load_has_every_hour_of_two_years_but_those_that_its_source_lacks() -> None:
    hours = pd.date_range("2008-01-01", "2010-01-01", freq="h", tz="America/New_York", inclusive="left")
    missing = hours.tz_convert("UTC").difference(al.datasets.load("load").index)
    assert len(missing) == 4  # both ones of the hour that the clocks go through twice, each autumn
    assert set(missing.tz_convert("America/New_York").strftime("%m-%d %H")) == {"11-02 01", "11-01 01"}


def test_each_fault_is_found_where_its_label_says() -> None:
    out = al.detect(al.datasets.load("plant"))
    assert {one["fault"] for one in al.datasets.faults()} == {"leak", "drift", "missing_peak", "stuck", "storm"}
    for one in al.datasets.faults():
        assert set(one["series"]) <= set(COLUMNS)
        during = out["time"].between(one["since"], one["until"]) & out["series"].isin(one["series"])
        assert out["alert"][during].any(), one
