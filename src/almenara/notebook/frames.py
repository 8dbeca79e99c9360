"""DataFrames of pandas and polars as columns of numpy, and columns as a DataFrame of the same library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from almenara.files._table import scaled
from almenara.model.errors import AlmenaraError, DecodeError, MissingExtra
from almenara.model.time import EARLIEST_NS, format_time

#: Where a row has no time.
NO_TIME = np.iinfo(np.int64).min
_SECONDS = 9_223_372_036  # what int64 nanoseconds hold, either way from 1970
_UNIT_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


class Frame(Protocol):
    """A DataFrame, read by the titles of its columns; an index of times is one of them."""

    titles: list[str]
    index_time: str  # the title of the index, where it holds times; else empty

    def __len__(self) -> int: ...

    def kind(self, title: str) -> str:
        """What a column holds: "time", "number", "text", or "" for anything else."""

    def times(self, title: str) -> np.ndarray:
        """int64[n] ns UTC, NO_TIME where there is none. Raises AlmenaraError."""

    def values(self, title: str) -> np.ndarray:
        """float64[n], NaN where there is none. Raises AlmenaraError."""

    def codes(self, title: str) -> tuple[np.ndarray, list[str]]:
        """(int64[n], texts): which text each row has, empty where there is none."""

    def answer(self, columns: Mapping[str, Any], beside: bool) -> Any:
        """A DataFrame of this library. A column is an array, or (int64[n], texts); NaN is what the library has for a
        missing value. beside: its rows are this frame's, and keep its index."""


def frame_of(data: Any) -> Frame:
    """The adapter of a DataFrame, or of a pandas Series. Raises AlmenaraError for anything else."""
    library = type(data).__module__.partition(".")[0]
    if library == "pandas" and hasattr(data, "index"):
        return PandasFrame(data)
    if library == "polars" and hasattr(data, "collect_schema") and hasattr(data, "to_pandas"):
        return PolarsFrame(data)
    hint = "; call .collect() first" if type(data).__name__ == "LazyFrame" else ""
    raise AlmenaraError(f"detect: found {type(data).__name__}, expected a pandas or polars DataFrame{hint}")


class PandasFrame:
    """Of pandas. An index of times or periods, alone or as a level of several, is a column too."""

    def __init__(self, data: Any):
        pandas = self._pandas = _pandas()
        self.index = data.index
        frame = data.to_frame(name=data.name or "value") if isinstance(data, pandas.Series) else data
        self._columns = {str(title): column for title, column in frame.items()}
        if len(self._columns) < frame.shape[1]:
            raise AlmenaraError(f"detect: two columns have the same title among {', '.join(map(str, frame.columns))}")
        self.index_time = ""
        levels = self.index.levels if isinstance(self.index, pandas.MultiIndex) else [self.index]
        for at, level in enumerate(levels):
            is_time = isinstance(level, pandas.DatetimeIndex | pandas.PeriodIndex)
            if (
                not is_time
                and not isinstance(self.index, pandas.MultiIndex)
                and level.name not in ("time", "timestamp")
            ):
                continue  # a plain count of rows says nothing
            title = str(level.name or ("time" if is_time else f"level_{at}"))
            values = self.index.get_level_values(at)
            stamps = values.to_timestamp() if isinstance(values, pandas.PeriodIndex) else values
            if title not in self._columns:
                self._columns[title] = pandas.Series(stamps.array, copy=False)
                self.index_time = self.index_time or (title if is_time else "")
        self.titles = list(self._columns)

    def __len__(self) -> int:
        return len(self.index)

    def kind(self, title: str) -> str:
        types, column = self._pandas.api.types, self._columns[title]
        if types.is_datetime64_any_dtype(column.dtype):
            return "time"
        if types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype):
            return "number"
        if not isinstance(column.dtype, np.dtype):
            return "text" if self._pandas.api.types.is_string_dtype(column.dtype) or _is_category(column) else ""
        if column.dtype != object:
            return ""
        found = types.infer_dtype(column, skipna=True)
        if found in ("integer", "floating", "decimal", "boolean", "mixed-integer-float", "empty"):
            return "number"
        return "time" if found in ("datetime", "datetime64", "date") else "text" if found == "string" else ""

    def times(self, title: str) -> np.ndarray:
        column = self._columns[title]
        if self._pandas.api.types.is_datetime64_any_dtype(column.dtype):
            stamps = self._pandas.DatetimeIndex(column)
            return _stamps(stamps.asi8.view(f"datetime64[{stamps.unit}]"), title)
        if self._pandas.api.types.is_numeric_dtype(column.dtype):
            known = column.notna().to_numpy()
            return _numbers(column.to_numpy(), known, title)
        return texts_to_ns(column.to_numpy(object), title)

    def values(self, title: str) -> np.ndarray:
        column = self._columns[title]
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiub":
            return column.to_numpy(np.float64)
        try:
            return self._pandas.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            bad = next((one for one in column.tolist() if not _is_number(one)), column.iloc[0])
            raise AlmenaraError(f"column {title!r}: found {bad!r}, expected numbers") from error

    def codes(self, title: str) -> tuple[np.ndarray, list[str]]:
        codes, texts = self._pandas.factorize(self._columns[title], use_na_sentinel=True)
        return np.where(codes < 0, len(texts), codes), [*map(str, texts), ""]

    def answer(self, columns: Mapping[str, Any], beside: bool) -> Any:
        pandas = self._pandas
        made = {}
        for title, column in columns.items():
            if isinstance(column, tuple):
                column = pandas.array(column[1], dtype="str").take(column[0])
            elif column.dtype.kind == "M":
                column = pandas.DatetimeIndex(column).tz_localize("UTC")
            made[title] = column
        return pandas.DataFrame(made, index=self.index if beside else None, copy=False)


class PolarsFrame:
    """Of polars."""

    index_time = ""

    def __init__(self, data: Any):
        import polars

        self._polars, self._frame, self._schema = polars, data, data.schema
        self.titles: list[str] = list(data.columns)

    def __len__(self) -> int:
        return int(self._frame.height)

    def kind(self, title: str) -> str:
        dtype = self._schema[title]
        if dtype.is_temporal():
            return "time" if dtype in (self._polars.Datetime, self._polars.Date) else ""
        if dtype.is_numeric() or dtype == self._polars.Boolean or dtype == self._polars.Null:
            return "number"
        return "text" if dtype in (self._polars.String, self._polars.Categorical, self._polars.Enum) else ""

    def times(self, title: str) -> np.ndarray:
        column = self._frame[title]
        if self.kind(title) == "time":
            if column.dtype == self._polars.Date:
                column = column.cast(self._polars.Datetime("us"))
            unit = column.dtype.time_unit  # the number behind it is UTC, whatever the zone
            return _stamps(column.to_physical().fill_null(NO_TIME).to_numpy().view(f"datetime64[{unit}]"), title)
        if column.dtype.is_numeric():
            known = column.is_not_null().to_numpy()
            return _numbers(column.fill_null(0).to_numpy(), known, title)
        return texts_to_ns(np.array(column.to_list(), object), title)

    def values(self, title: str) -> np.ndarray:
        column = self._frame[title]
        if self.kind(title) != "number" and column.dtype != self._polars.String:
            raise AlmenaraError(f"column {title!r}: found {column.dtype}, expected numbers")
        try:
            numbers = column.cast(self._polars.Float64)
        except self._polars.exceptions.InvalidOperationError as error:
            bad = next((one for one in column.to_list() if not _is_number(one)), None)
            raise AlmenaraError(f"column {title!r}: found {bad!r}, expected numbers") from error
        return np.asarray(numbers.fill_null(np.nan).to_numpy(), np.float64)

    def codes(self, title: str) -> tuple[np.ndarray, list[str]]:
        column = self._frame[title].cast(self._polars.String).fill_null("")
        texts = column.unique(maintain_order=True)
        places = self._polars.DataFrame({"text": texts, "code": np.arange(len(texts))})
        found = column.to_frame("text").join(places, on="text", how="left", maintain_order="left")
        return found["code"].to_numpy(), texts.to_list()

    def answer(self, columns: Mapping[str, Any], beside: bool) -> Any:
        made = {}
        for title, column in columns.items():
            if isinstance(column, tuple):
                column = self._polars.Series(column[1], dtype=self._polars.String).gather(column[0])
            elif column.dtype.kind == "M":
                column = self._polars.Series(column).dt.replace_time_zone("UTC")
            elif column.dtype.kind == "f":
                column = self._polars.Series(column, nan_to_null=True)  # NaN would be above every limit
            made[title] = column
        return self._polars.DataFrame(made)


def texts_to_ns(column: np.ndarray, title: str) -> np.ndarray:
    """int64[n] ns of texts in ISO 8601, datetimes or numbers; without a zone they are UTC. Raises AlmenaraError."""
    pandas = _pandas()
    known = ~pandas.isna(column)
    try:
        numbers = pandas.to_numeric(pandas.Series(column[known]))
    except (TypeError, ValueError):
        numbers = None
    if numbers is not None and known.any() and numbers.dtype.kind in "iuf":
        return _numbers(_spread(numbers.to_numpy(), known), known, title)
    try:
        found = pandas.to_datetime(pandas.Series(column, dtype=object), utc=True, format="ISO8601")
    except (TypeError, ValueError) as error:
        bad = next(one for one in column[known].tolist() if _is_no_time(one, pandas))
        at = int(np.flatnonzero([one is bad for one in column.tolist()])[0])
        raise AlmenaraError(
            f"column {title!r}, row {at}: found {bad!r}, expected a time such as 2026-11-22T07:30:00Z"
        ) from error
    return _stamps(found.dt.tz_localize(None).to_numpy(), title)


def _stamps(column: np.ndarray, title: str) -> np.ndarray:
    """int64[n] ns of datetime64[n] of any unit."""
    if np.datetime_data(column.dtype)[0] not in ("ns", "us", "ms", "s"):
        column = column.astype("datetime64[s]")
    number = column.view(np.int64)
    unit_ns = _UNIT_NS[np.datetime_data(column.dtype)[0]]
    if unit_ns == 1:
        return number
    known = number != NO_TIME
    limit = _SECONDS * (10**9 // unit_ns)
    if len(number) and (np.abs(number[known]) > limit).any():
        bad = column[known][np.abs(number[known]) > limit][0]
        raise AlmenaraError(f"column {title!r}: found the time {bad}, expected one from 1678 to 2262")
    return np.where(known, number * unit_ns, NO_TIME)


def _numbers(number: np.ndarray, known: np.ndarray, title: str) -> np.ndarray:
    """int64[n] ns of numbers since 1970, their unit told by the size of the largest."""
    some = number[known]
    if some.dtype.kind not in "iuf":
        some = some.astype(np.float64)
    try:
        stamps = scaled(some, "auto", f"column {title!r}")
    except DecodeError as error:
        raise AlmenaraError(str(error)) from error
    if len(stamps) and (low := int(stamps.min())) < EARLIEST_NS:
        raise AlmenaraError(
            f"column {title!r}: found {some.min()} to {some.max()}, which begins at {format_time(low)}; expected times "
            "as s, ms, us or ns since 1970, none before 1971"
        )
    return _spread(stamps, known)


def _spread(column: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A column of the known rows over all of them."""
    if known.all():
        return column
    out = np.full(len(known), NO_TIME if column.dtype.kind in "iu" else np.nan, column.dtype)
    out[known] = column
    return out


def _is_category(column: Any) -> bool:
    return hasattr(column.dtype, "categories")


def _is_number(one: Any) -> bool:
    try:
        float(one)
    except (TypeError, ValueError):
        return one is None
    return True


def _is_no_time(one: Any, pandas: Any) -> bool:
    try:
        pandas.to_datetime(one, utc=True, format="ISO8601")
    except (TypeError, ValueError):
        return True
    return False


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise MissingExtra("al.detect", "notebook") from error
    return pandas
