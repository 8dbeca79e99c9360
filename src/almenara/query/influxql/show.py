"""SHOW: which databases, measurements, fields, tags and series there are, in InfluxDB's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from almenara.model.errors import QueryError
from almenara.model.series import Series, label_name
from almenara.query.influxql.answer import Table
from almenara.query.influxql.names import Names, Source, labels_of, named, searching
from almenara.query.influxql.syntax import Regex, Show
from almenara.query.influxql.where import conjuncts, split, tag_mask, tag_matcher
from almenara.query.matcher import Matcher

#: Retention is set in the hub's configuration; clients want to see one policy.
_POLICIES = ("name", "duration", "shardGroupDuration", "replicaN", "default")
_POLICY = ("autogen", "0s", "168h0m0s", 1, True)
_ESCAPED = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})


def show(statement: Show, names: Names, source: Source) -> list[Table]:
    """The tables of a statement. Raises QueryError."""
    what = statement.what
    if what == "databases":
        return _one("databases", ["name"], [[name] for name in source.databases()], statement)
    if what == "retention policies":
        return [Table("", _POLICIES, [[one] for one in _POLICY])]
    found = _Found(statement, names, source)
    if what.startswith("measurements"):
        measurements = [name for name in found.measurements if found.asked(name) and found.some(name)]
        if what.endswith("cardinality"):
            return [Table("", ["cardinality estimation"], [[len(measurements)]])]
        return _one("measurements", ["name"], [[name] for name in measurements], statement)
    if what.startswith("series"):
        return _series(statement, found)
    return _by_measurement(statement, found)


class _Found:
    """The measurements, and series, that FROM and WHERE leave."""

    def __init__(self, statement: Show, names: Names, source: Source):
        self._names, self._source, self._wanted = names, source, statement.wanted
        self.measurements = names.chosen(statement.sources) if statement.sources else names.measurements()
        _, condition = split(statement.where, 0)  # times are left out: what there is, is told at any time
        self.conditions = list(conjuncts(condition))

    def asked(self, measurement: str) -> bool:
        """Whether WITH MEASUREMENT asks for it."""
        return self._wanted is None or _is_wanted(self._wanted, measurement)

    def keys(self, tags: Sequence[str]) -> list[str]:
        """The tags that WITH KEY asks for."""
        return [tag for tag in tags if self._wanted is None or _is_wanted(self._wanted, tag)]

    def fields(self, measurement: str) -> Mapping[str, str]:
        """Its fields."""
        return self._names.fields(measurement)

    def some(self, measurement: str) -> bool:
        """Whether it has a series that fulfils the condition."""
        return not self.conditions or any(True for _ in self.series(measurement))

    def series(self, measurement: str) -> Iterator[Series]:
        """Its series that fulfil the condition, each field's for itself."""
        fields = self.fields(measurement)
        if not fields:
            return
        matchers: list[Matcher] = [named(fields.values())]
        rest = []
        for part in self.conditions:
            matcher = tag_matcher(part)
            if matcher is None:
                rest.append(part)
            else:
                matchers.append(_measured(matcher, measurement))
        found = [self._source.series[id] for id in self._source.select(matchers).tolist()]
        mask = np.ones(len(found), np.bool_)
        for part in rest:
            mask &= tag_mask(part, [labels_of(one) for one in found])
        yield from (one for one, keep in zip(found, mask.tolist(), strict=True) if keep)


def _measured(matcher: Matcher, measurement: str) -> Matcher:
    """Grafana asks for `"_name" = 'cpu'` and means the measurement: then every series fulfils it, or none."""
    if matcher.label not in ("_name", "_measurement"):
        return matcher
    return Matcher("__name__", "!=" if matcher.matches(measurement) else "=", "")


def _is_wanted(wanted: tuple[str, Regex | tuple[str, ...]], text: str) -> bool:
    op, right = wanted
    if isinstance(right, Regex):
        return searching("name", "=~", right).matches(text) == (op == "=")
    return (text in right or label_name(text) in map(label_name, right)) == (op == "=")


def _one(name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], statement: Show) -> list[Table]:
    """A table of rows, cut; none where it is empty."""
    table = Table(name, columns, [[row[at] for row in rows] for at in range(len(columns))])
    cut = table.cut(statement.cut.limit, statement.cut.offset)
    return [cut] if len(cut) else []


def _series(statement: Show, found: _Found) -> list[Table]:
    keys = {name: sorted({_key(name, one) for one in found.series(name)}) for name in found.measurements}
    if statement.what.endswith("cardinality"):
        return [Table("", ["cardinality estimation"], [[sum(map(len, keys.values()))]])]
    return _one("", ["key"], [[key] for name in found.measurements for key in keys[name]], statement)


def _key(measurement: str, series: Series) -> str:
    """A series as line protocol writes it: `cpu,host=a`."""
    tags = "".join(f",{name.translate(_ESCAPED)}={value.translate(_ESCAPED)}" for name, value in series.labels)
    return measurement.replace(",", "\\,").replace(" ", "\\ ") + tags


def _by_measurement(statement: Show, found: _Found) -> list[Table]:
    kind = statement.what.removesuffix(" cardinality")
    columns = {
        "field keys": ["fieldKey", "fieldType"],
        "tag keys": ["tagKey"],
        "tag values": ["key", "value"],
    }.get(kind)
    if columns is None:
        raise QueryError(f"SHOW {statement.what.upper()} is not known")
    tables: list[Table] = []
    for name in found.measurements:
        rows = _rows(kind, found, name)
        if statement.what != kind and rows:
            tables.append(Table(name, ["count"], [[len(rows)]]))
        elif rows:
            tables += _one(name, columns, rows, statement)
    return tables


def _rows(kind: str, found: _Found, measurement: str) -> list[list[object]]:
    if kind == "field keys":
        return [[field, "float"] for field in found.fields(measurement)] if found.some(measurement) else []
    labels = [one.labels for one in found.series(measurement)]
    tags = sorted({label for pairs in labels for label, _ in pairs})
    if kind == "tag keys":
        return [[tag] for tag in tags]
    wanted = set(found.keys(tags))
    return [list(pair) for pair in sorted({pair for pairs in labels for pair in pairs if pair[0] in wanted})]
