"""What the columns of a DataFrame are: its time, its series and their values, wide or long, as one table of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from almenara.codecs._csv_layout import NAMES, SERIES_NAMES, TIMES, VALUES, parse_series
from almenara.model.errors import AlmenaraError
from almenara.model.series import encode_key
from almenara.notebook.frames import Frame

Titles = str | Sequence[str] | None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Samples of a frame of n rows with v columns of values: m = n * v of them, column by column.

    keys: one a series. id: int64[m]; time: int64[m] ns UTC, NO_TIME where there is none; value: float64[m].
    """

    keys: list[bytes]
    id: np.ndarray
    time: np.ndarray
    value: np.ndarray
    columns: int


@dataclass(frozen=True, slots=True)
class _Roles:
    time: str
    name: str
    labels: tuple[str, ...]
    values: tuple[str, ...]


def table_of(frame: Frame, time: str | None, value: Titles, series: Titles) -> Table:
    """The samples of a frame. Raises AlmenaraError where its columns cannot be told apart or read."""
    roles = _roles(frame, time, value, series)
    n, v = len(frame), len(roles.values)
    combination, texts = _combinations(frame, roles)
    keys = [_key(roles, one, title) for one in texts for title in roles.values]
    stamps = frame.times(roles.time)
    values = [frame.values(title) for title in roles.values]
    if v == 1:
        return Table(keys, combination, stamps, values[0], 1)
    id = (combination * v + np.arange(v)[:, None]).reshape(n * v)
    return Table(keys, id, np.tile(stamps, v), np.concatenate(values), v)


def _roles(frame: Frame, time: str | None, value: Titles, series: Titles) -> _Roles:
    given_values, given_series = _list(value), _list(series)
    for what, some in (("time", _list(time)), ("value", given_values), ("series", given_series)):
        for title in some:
            if title not in frame.titles:
                raise AlmenaraError(f"{what}: found no column {title!r}, expected one of {_told(frame)}")
    time = time or _time_of(frame)
    if not time:
        raise AlmenaraError(
            f"detect: found no column of times among {_told(frame)}; expected an index of times, a column called "
            "`time`, or time='its title'"
        )
    rest = [title for title in frame.titles if title != time]
    lower = {title.lower(): title for title in reversed(rest)}
    long = [title for title in rest if title.lower() in VALUES and frame.kind(title) == "number"]
    texts = [title for title in rest if frame.kind(title) == "text" and title not in given_values]
    name = given_series[0] if len(given_series) == 1 else ""
    if not given_series and (long or given_values):
        name = next((lower[one] for one in (*SERIES_NAMES, *NAMES) if lower.get(one) in texts), "")
    labels = given_series if len(given_series) > 1 else [] if given_series else [t for t in texts if t != name]
    numbers = [t for t in rest if frame.kind(t) == "number" and t != name and t not in labels]
    values = given_values or (long if long and (name or labels or len(numbers) == 1) else numbers)
    if not values:
        raise AlmenaraError(
            f"detect: found no column of numbers among {_told(frame)}; expected one, or value='its title'"
        )
    return _Roles(time, name, tuple(labels), tuple(values))


def _time_of(frame: Frame) -> str:
    if frame.index_time:
        return frame.index_time
    lower = {title.lower(): title for title in reversed(frame.titles)}
    named = next((lower[one] for one in TIMES if one in lower), "")
    return named or next((title for title in frame.titles if frame.kind(title) == "time"), "")


def _told(frame: Frame) -> str:
    return ", ".join(f"{title} ({frame.kind(title) or 'unknown'})" for title in frame.titles)[:300] or "none"


def _list(given: Titles) -> list[str]:
    return [given] if isinstance(given, str) else list(given or ())


def _combinations(frame: Frame, roles: _Roles) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Which combination of texts (of the name, if there is one, and the labels) each row has: int64[n], and those."""
    titles = [*([roles.name] if roles.name else []), *roles.labels]
    combination = np.zeros(len(frame), np.int64)
    texts: list[tuple[str, ...]] = [()]
    for title in titles:
        codes, some = frame.codes(title)
        used, combination = np.unique(combination * len(some) + codes, return_inverse=True)
        texts = [(*texts[one // len(some)], some[one % len(some)]) for one in used.tolist()]
    return combination, texts


def _key(roles: _Roles, texts: tuple[str, ...], title: str) -> bytes:
    labels: dict[str, str] = {}
    name = ""
    if roles.name:
        name, texts = texts[0], texts[1:]
        if "{" in name:
            try:
                name, labels = parse_series(name)
            except ValueError:
                labels = {}  # then it is a name with a brace in it
    if len(roles.values) > 1 and name:
        name = f"{name}_{title}"
    return encode_key(name or title, labels | dict(zip(roles.labels, texts, strict=True)))
