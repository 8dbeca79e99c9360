"""Compile what must be compiled before the first sample: half a minute on a first start, later a moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.model.batch import Batch
from almenara.model.series import SeriesTable
from almenara.model.time import NS
from almenara.pipeline.account import match
from almenara.pipeline.decoding import Decoding
from almenara.pipeline.hub import Options
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.pipeline.judge import Watch, empty_verdict
from almenara.pipeline.order import sort_rows
from almenara.pipeline.recent import locate
from almenara.plugin.contracts import Context
from almenara.query import parse_selector

#: What each codec is shown; others are warm from the start.
_PAYLOADS = {
    "influx": b"warm,up=1 value=1 1\n",
    "json": b'[{"warm":1,"up":"x"}' + b',{"warm":2,"up":"x"}' * 300 + b"]",  # as long as it takes to be read compiled
}
#: The same for codecs that most hubs do not use, where a link or topic of this hub does.
_WHERE_CONFIGURED = {"graphite": b"warm.up 1 1\n"}


def steps(options: Options) -> Iterator[tuple[str, Callable[[], object]]]:
    """(what it is, how to do it) for everything that a hub with these options compiles."""
    for name, decoding in options.codecs.items():
        if name in _PAYLOADS:
            yield f"reading {name}", partial(_decode, decoding, _PAYLOADS[name])
        if decoding.plugin in _WHERE_CONFIGURED:
            yield f"reading {decoding.plugin}", partial(_decode, decoding, _WHERE_CONFIGURED[decoding.plugin])
    yield "series index", _index
    yield "ledger", _account
    yield "sorting", lambda: sort_rows(np.zeros(2, np.int32), np.arange(2, dtype=np.int64)[::-1].copy(), np.zeros(2))
    for watch in options.watches:
        yield f"judging: {watch.name}", partial(_judge, watch)
    yield "alarms", _alarms
    yield "queries", _query


def _decode(decoding: Decoding, payload: bytes) -> None:
    decoding.make().decode(payload, Context())


def _judge(watch: Watch) -> None:
    watch.make().step(_one_row())


def _one_row() -> Batch:
    return Batch(
        SeriesTable.of([b"warm_up"]), np.zeros(1, np.int32), np.full(1, 1_700_000_000 * NS, np.int64), np.zeros(1)
    )


def _alarms() -> None:
    batch, index = _one_row(), SeriesIndex()
    index.add([batch.series.keys[0]])
    # Two connections to one database that is nowhere on disk, as a book wants.
    book = Book(
        lambda: sqlite3.connect("file:warm_up?mode=memory&cache=shared", uri=True, isolation_level=None),
        [Rule("warm_up", "warm_up > 1")], index, lambda matchers: Selector(index, matchers),
    )  # fmt: skip
    book.step(1, batch, empty_verdict(1), 0)
    book.tick(batch.time[0])
    book.close()


def _index() -> None:
    index = SeriesIndex()
    index.add([b"warm_up\xffa\xfeb"])
    index.select(parse_selector('warm_up{a="b"}'))


def _account() -> None:
    one = np.ones(1, np.int64)
    match(one.astype(np.int32), one, one.astype(np.int32), one)
    locate(one, one - 1, one, one)


def _query() -> None:
    from almenara.query import evaluate, parse

    class OneRow:
        def select(self, matchers: object, start_ns: int, end_ns: int) -> Batch:
            return _one_row()

    now = 1_700_000_000 * NS
    evaluate(parse("sum(rate(warm_up[5m]))"), now, now, 0, OneRow())
