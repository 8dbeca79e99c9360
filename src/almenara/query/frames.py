"""Answers of a hub as DataFrames of pandas or polars, and DataFrames as samples to write."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from almenara.model.errors import AlmenaraError, MissingExtra

#: One series of an answer: its name, and [time in s, value as text] pairs.
Points = tuple[str, Sequence[tuple[float, str]]]


def from_points(points: Sequence[Points], frame: str, long: bool) -> Any:
    """Series of an answer as a DataFrame. Wide: a row a time, a column a series, gaps NaN (pandas) or null (polars)."""
    times = [np.array([round(t * 1000) for t, _ in pairs], np.int64) for _, pairs in points]
    values = [np.array([float(v) for _, v in pairs], np.float64) for _, pairs in points]
    names = [name for name, _ in points]
    if long:
        repeated = np.repeat(np.array(names, object), [len(t) for t in times]) if names else np.empty(0, object)
        none = np.empty(0)
        return _long(frame, np.concatenate([none.astype(np.int64), *times]), repeated, np.concatenate([none, *values]))
    every = np.unique(np.concatenate(times)) if times else np.empty(0, np.int64)
    table = np.full((len(every), len(names)), np.nan)
    for i, (time, value) in enumerate(zip(times, values, strict=True)):
        table[np.searchsorted(every, time), i] = value
    stamps = every.view("datetime64[ms]")
    library = _library(frame)
    if frame == "pandas":
        index = library.DatetimeIndex(stamps, name="time").tz_localize("UTC")
        return library.DataFrame(table, index=index, columns=names)
    columns = {name: library.Series(table[:, i]).fill_nan(None) for i, name in enumerate(names)}
    return library.DataFrame({"time": library.Series(stamps).dt.replace_time_zone("UTC"), **columns})


def from_csv(text: bytes, frame: str) -> Any:
    """The hub's export (`time,series,value`) as a long DataFrame, times exact to the nanosecond."""
    library = _library(frame)
    if frame == "pandas":
        table = library.read_csv(io.BytesIO(text), dtype={"time": str, "series": str, "value": float})
        stamps = library.to_datetime(table["time"].str.rstrip("Z"), format="ISO8601")
        table["time"] = stamps.astype("datetime64[ns]").dt.tz_localize("UTC")
        return table
    schema = {"time": library.String, "series": library.String, "value": library.Float64}
    table = library.read_csv(io.BytesIO(text), schema_overrides=schema)
    stamp = library.col("time").str.strip_chars_end("Z").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="ns")
    return table.with_columns(stamp.dt.replace_time_zone("UTC"))


def series_of(data: Any) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(series as text, int64[n] ns, float64[n]) of each series of a pandas or polars DataFrame, long or wide.

    Times without a zone are UTC. Raises AlmenaraError for anything else.
    """
    if hasattr(data, "to_pandas") and hasattr(data, "columns"):
        data = _polars_columns(data)
    elif hasattr(data, "reset_index") and hasattr(data, "columns"):
        data = _pandas_columns(data)
    else:
        raise AlmenaraError(
            f"write: found {type(data).__name__}, expected line protocol or a pandas or polars DataFrame"
        )
    if "time" not in data:
        raise AlmenaraError("write: the frame has neither a column nor an index of times; name it `time`")
    time = data.pop("time").astype("datetime64[ns]").astype(np.int64)
    if set(data) != {"series", "value"}:
        for name, values in data.items():
            yield name, time, np.asarray(values, np.float64)
        return
    names, value = data["series"].astype(object), np.asarray(data["value"], np.float64)
    for name in dict.fromkeys(names.tolist()):
        mine = names == name
        yield name, time[mine], value[mine]


def _pandas_columns(data: Any) -> dict[str, np.ndarray]:
    """Columns by name; an index of times becomes the column `time`."""
    import pandas

    if isinstance(data.index, pandas.DatetimeIndex):
        data = data.rename_axis("time").reset_index()
    columns = {str(name): data[name] for name in data.columns}
    if "time" in columns:
        columns["time"] = pandas.to_datetime(columns["time"], utc=True).dt.tz_localize(None)
    return {name: column.to_numpy() for name, column in columns.items()}


def _polars_columns(data: Any) -> dict[str, np.ndarray]:
    columns = {str(name): data[name] for name in data.columns}
    if "time" in columns and getattr(columns["time"].dtype, "time_zone", None):
        columns["time"] = columns["time"].dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return {name: column.to_numpy() for name, column in columns.items()}


def _long(frame: str, ms: np.ndarray, names: np.ndarray, values: np.ndarray) -> Any:
    library, stamps = _library(frame), ms.view("datetime64[ms]")
    if frame == "pandas":
        time = library.DatetimeIndex(stamps).tz_localize("UTC")
        return library.DataFrame({"time": time, "series": library.Series(names, dtype="str"), "value": values})
    columns = {"series": library.Series(names.tolist(), dtype=library.String), "value": values}
    return library.DataFrame({"time": library.Series(stamps).dt.replace_time_zone("UTC"), **columns})


def _library(frame: str) -> Any:
    if frame not in ("pandas", "polars"):
        raise AlmenaraError(f"frame: found {frame!r}, expected 'pandas' or 'polars'")
    try:
        if frame == "pandas":
            import pandas

            return pandas
        import polars
    except ImportError as error:
        raise MissingExtra(f"a {frame} DataFrame", "notebook") from error
    return polars
