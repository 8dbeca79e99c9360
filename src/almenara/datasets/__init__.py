"""Small sample data sets that come with the package: `al.datasets.load("plant")` gives a DataFrame.

`plant` is simulated, with labelled faults; made by `almenara.datasets.make`, under this package's licence.
`load` is the hourly electricity load of two zones of PJM Interconnection (US), published as CC0 (public domain) under
the name Hourly Energy Consumption.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from almenara.datasets.make import FAULTS
from almenara.model.errors import AlmenaraError, MissingExtra

_ABOUT = {
    "load": "Hourly electricity load of two US zones in MW, 2008 and 2009, hour beginning; America/New_York, US",
    "plant": "Four weeks of a simulated plant every 5 minutes, with five labelled faults; UTC",
}
_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of the data sets, sorted."""
    return sorted(_ABOUT)


def about(name: str) -> str:
    """What a data set is, in one sentence."""
    return _ABOUT[_known(name)]


def path(name: str) -> Path:
    """The file of a data set, for `almenara detect` and `almenara import`: CSV, compressed with gzip."""
    return _FOLDER / f"{_known(name)}.csv.gz"


def load(name: str = "plant", frame: str = "pandas") -> Any:
    """A data set as a wide DataFrame of pandas or polars: the times in UTC are the index (pandas) or the column `time`
    (polars), one column a series. Raises AlmenaraError for an unknown name."""
    if frame not in ("pandas", "polars"):
        raise AlmenaraError(f"frame: found {frame!r}, expected 'pandas' or 'polars'")
    file = path(name)
    try:
        if frame == "pandas":
            import pandas

            table = pandas.read_csv(file)
            table.index = pandas.DatetimeIndex(pandas.to_datetime(table.pop("time"), utc=True), name="time")
            return table
        import polars
    except ImportError as error:
        raise MissingExtra(f"a {frame} DataFrame", "notebook") from error
    time = polars.col("time").str.to_datetime("%Y-%m-%dT%H:%MZ", time_unit="us", time_zone="UTC")
    return polars.read_csv(file).with_columns(time)


def faults(name: str = "plant") -> list[dict[str, Any]]:
    """What is wrong when, where that is known: `fault`, `series` (those that show it), `since` and `until` (UTC)."""
    _known(name)
    return [one.told() for one in FAULTS] if name == "plant" else []


def _known(name: str) -> str:
    if name not in _ABOUT:
        raise AlmenaraError(f"datasets: found {name!r}, expected one of {', '.join(names())}")
    return name
