"""Where InfluxQL's names lead: measurements and fields to series, and the source that rows are read from.

A series of ours has one name; InfluxDB has a measurement and a field. What line protocol brought is known under both
(`cpu`, `usage` is the series `cpu_usage`); a series that came another way is a measurement of its own name with the one
field `value`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from almenara.model.batch import Batch
from almenara.model.errors import NotSupported
from almenara.model.series import Series, SeriesList, metric_name
from almenara.query.influxql.syntax import Measurement, Regex
from almenara.query.matcher import NAME, Matcher

#: The field whose series has just the name of its measurement.
VALUE = "value"
_REWRITTEN = 10_000  # patterns of one request are few; those of all are bounded


class Source(Protocol):
    """What statements are answered from."""

    @property
    def series(self) -> SeriesList:
        """Every series, by id."""

    def names(self) -> Names:
        """What there is."""

    def select(self, matchers: Sequence[Matcher], /) -> np.ndarray:
        """int32[k]: ids of the series that fulfil all matchers, sorted."""

    def read(self, ids: np.ndarray, start: int, end: int, every_ns: int | None = None, how: str = "avg", /) -> Batch:
        """Rows in [start, end), ordered by (id, time); as `StoreReader.read`. Raises QueryTooLarge."""

    def databases(self) -> Sequence[str]:
        """What SHOW DATABASES says."""

    def create_database(self, name: str, /) -> None:
        """Remember a name for SHOW DATABASES."""


class Names:
    """Every measurement and its fields, at one moment.

    names: of all series, each once. origins: name -> (measurement, field) as they were sent, where that is known.
    """

    def __init__(self, names: Sequence[str], origins: Mapping[str, Iterable[tuple[str, str]]]):
        self._known = set(names)
        self._fields: dict[str, dict[str, str]] = {}
        for name in names:
            for measurement, field in origins.get(name) or ((name, VALUE),):
                self._fields.setdefault(measurement, {})[field] = name

    def measurements(self) -> list[str]:
        """All of them, sorted."""
        return sorted(self._fields, key=str.encode)

    def fields(self, measurement: str) -> dict[str, str]:
        """Field -> name of its series, sorted by field; empty where there is no such measurement."""
        return dict(sorted(self._fields.get(measurement, {}).items()))

    def find(self, measurement: str, field: str) -> str | None:
        """The name of the series of a field; also of one that was never written as a field, if the names fit."""
        known = self._fields.get(measurement, {}).get(field)
        if known is not None:
            return known
        name = series_name(measurement, field)
        return name if name in self._known else None

    def chosen(self, sources: Iterable[Measurement]) -> list[str]:
        """The measurements that FROM asks for, sorted; unknown ones too."""
        found: set[str] = set()
        for source in sources:
            if isinstance(source.name, Regex):
                matcher = searching("name", "=~", source.name)
                found.update(name for name in self._fields if matcher.matches(name))
            else:
                found.add(source.name)
        return sorted(found, key=str.encode)


def series_name(measurement: str, field: str) -> str:
    """The name of a series, as the codec `influx` makes it."""
    return metric_name(measurement if field == VALUE else f"{measurement}_{field}")


def named(names: Iterable[str]) -> Matcher:
    """The series that have one of these names."""
    names = list(names)
    if len(names) == 1:
        return Matcher(NAME, "=", names[0])
    return Matcher(NAME, "=~", "|".join(names))  # names of series have no sign of a pattern in them


@lru_cache(maxsize=256)
def searching(label: str, op: str, regex: Regex) -> Matcher:
    """The condition that a pattern matches anywhere in a text (or, with `!~`, does not)."""
    pattern = regex.pattern
    if len(pattern) > _REWRITTEN:
        raise NotSupported(f"a pattern of {len(pattern)} characters is not supported; at most {_REWRITTEN}")
    while pattern.startswith("(?") and (close := pattern.find(")")) > 2 and pattern[2:close].isalpha():
        flags, pattern = pattern[2:close], pattern[close + 1 :]
        pattern = f"(?{flags}:{pattern})"
        break
    return Matcher(label, op, f"(?s:.*)(?:{pattern})(?s:.*)")


def labels_of(series: Series) -> dict[str, str]:
    """The tags of a series."""
    return dict(series.labels)
