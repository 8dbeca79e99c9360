"""Whatever is asked of whatever rows: an answer in shape, or an error by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from almenara.model.batch import Batch
from almenara.model.errors import QueryError
from almenara.model.series import Series, SeriesTable
from almenara.query import Matcher, match_all
from almenara.query.influxql import Names, answer, parse, plain
from almenara.query.influxql.aggregates import AGGREGATES, SELECTORS
from almenara.query.influxql.transforms import TRANSFORMS
from almenara.query.source import labels_of

S = 1_000_000_000
ORIGINS = {"cpu_v": [("cpu", "v")], "cpu_w": [("cpu", "w")], "mem": [("mem", "value")]}


class InMemory:
    """A few series, and rows of them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        rows = []
        for name, host in (("cpu_v", "a"), ("cpu_v", "b"), ("cpu_w", "a"), ("mem", "a"), ("plain", "c")):
            for time in sorted(rng.choice(60, 12, replace=False).tolist()):
                rows.append((Series.of(name, host=host), time * S, float("nan") if time % 9 == 0 else time % 7))
        self._batch = Batch.of(rows)
        self.series = SeriesTable.of(self._batch.series[i] for i in range(5))

    def names(self) -> Names:
        return Names([*ORIGINS, "plain"], ORIGINS)

    def select(self, matchers: Sequence[Matcher]) -> np.ndarray:
        return np.array([i for i in range(5) if match_all(matchers, labels_of(self.series[i]))], np.int32)

    def read(self, ids: np.ndarray, start: int, end: int, every_ns: int | None = None, how: str = "avg") -> Batch:
        id, time, value = (np.asarray(c) for c in (self._batch.id, self._batch.time, self._batch.value))
        keep = np.isin(id, ids) & (time >= start) & (time < end)
        return Batch(self.series, id[keep], time[keep], value[keep])

    def databases(self) -> Sequence[str]:
        return ["almenara"]

    def create_database(self, name: str) -> None:
        pass


def pick(*texts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


def balanced(text: str) -> str:
    return text + ")" * (text.count("(") - text.count(")"))


def with_window(text: str) -> str:
    return text.removesuffix(")") + ", 3)" if text.startswith("moving") else text


FIELD = pick("v", "w", "value", "host", "nothing", "*", "/v|w/", '"v"::field')
NAMED = pick("v", "w", "value", "nothing", "v")
SIMPLE = st.builds("{}({})".format, pick(*AGGREGATES, *SELECTORS[:4]), NAMED)
CALL = st.one_of(
    SIMPLE,
    st.builds("percentile({}, {})".format, NAMED, st.integers(0, 110)),
    st.builds("{}({}, {})".format, pick("top", "bottom"), pick("v", "w", "v, host"), st.integers(1, 9)),
    st.builds("{}({})".format, pick("distinct", "count(distinct", "max", "mean"), FIELD).map(balanced),
    st.builds("{}({})".format, pick(*TRANSFORMS), st.one_of(SIMPLE, NAMED)).map(with_window),
)
COLUMN = st.builds("{}{}".format, CALL, pick("", "", "", " * 2", " AS x", " / max(v)"))
RAW = st.builds("{}{}".format, st.one_of(FIELD, pick("abs(v)", "-v")), pick("", "", " * 2", " / v", " % w"))
COLUMNS = st.one_of(COLUMN, st.lists(st.one_of(COLUMN, COLUMN, COLUMN, RAW), max_size=3).map(", ".join),
                    st.lists(RAW, min_size=1, max_size=3).map(", ".join))  # fmt: skip
CLAUSES = st.builds(
    "{} {} {}{} {}".format,
    pick("FROM cpu", "FROM cpu, mem", "FROM /./", "FROM plain", "FROM nothing"),
    pick("", "WHERE time > 5s AND time < 50s", "WHERE host = 'a'", "WHERE v > 3 OR host =~ /b/", "WHERE time = 1h",
         "WHERE time >= 0 AND v = w AND host != ''", "WHERE time < 40s"),
    pick("", "", "GROUP BY time(7s)", "GROUP BY host", "GROUP BY time(10s, 3s), *", "GROUP BY time(1m), /h/, nothing"),
    pick("", " fill(none)", " fill(linear)", " fill(previous)", " fill(3)"),
    pick("", "ORDER BY time DESC", "LIMIT 3", "LIMIT 2 OFFSET 1 SLIMIT 1", "tz('Asia/Tokyo')"),
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(COLUMNS, CLAUSES)
def test_a_statement_has_an_answer_or_an_error_by_name(columns: str, clauses: str) -> None:
    try:
        (statement,) = parse(f"SELECT {columns} {clauses}")
        tables = answer(statement, InMemory(), 60 * S)
    except QueryError:
        return
    for table in tables:
        assert len(table.columns) == len(table.data)
        assert {len(plain(column)) for column in table.data} == {len(table)}
        times = np.asarray(table.data[0])
        assert (np.diff(times) <= 0).all() if "DESC" in clauses else (np.diff(times) >= 0).all()
